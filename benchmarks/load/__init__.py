"""Load on the running service: clips, live cameras, overload, long runs, hostile clients, and the scorer alone."""
