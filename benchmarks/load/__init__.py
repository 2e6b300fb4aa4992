"""What the running service takes: clips, live cameras, overload, hours, hostile clients and the scorer alone."""
