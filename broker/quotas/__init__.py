"""Limit definitions at four levels; usage itself is live state."""
