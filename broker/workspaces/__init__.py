"""Workspaces: a prefix in a root, with an owner; never nested in another one."""
