"""A small world with known truth: articulated people in front of a surveillance camera, without data or a network."""
