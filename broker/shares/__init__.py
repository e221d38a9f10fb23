"""Shares and reshares: a tree whose branches die with their trunk."""
