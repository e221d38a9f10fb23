"""Named sets of users, to share with and to grant roots to."""
