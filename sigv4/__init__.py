"""SigV4, without any I/O."""
