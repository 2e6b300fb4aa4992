"""From pixels to skeleton windows."""
