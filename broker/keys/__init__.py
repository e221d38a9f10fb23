"""Credentials: long-lived keys, and the table that sessions and links live in too."""
