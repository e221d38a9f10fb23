"""Storage nodes: S3 servers, who operates them, and whether they can be trusted to check a payload."""
