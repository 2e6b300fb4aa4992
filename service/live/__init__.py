"""The loop that owns the device, and the pure state machine of incidents."""
