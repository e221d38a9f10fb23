"""Links for strangers: one object or folder, read or drop box."""
