"""A simulated world with ground truth: articulated people in front of a camera, without data or a network."""
