"""STS sessions: short-lived children of a credential."""
