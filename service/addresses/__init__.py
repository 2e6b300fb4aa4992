"""What the service may connect to."""
