"""A posted video from upload to result."""
