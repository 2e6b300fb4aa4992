"""A camera from its configuration to its verdicts."""
