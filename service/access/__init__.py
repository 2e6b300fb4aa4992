"""Keys, limits, and the rule who may do what."""
