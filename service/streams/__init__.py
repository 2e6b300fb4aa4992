"""Messages on their way: in this process, and over Redis to others."""
