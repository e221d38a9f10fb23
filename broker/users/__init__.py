"""People: a login to sign in with, a permanent handle that names use."""
