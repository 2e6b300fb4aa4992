"""Transport of messages: inside this process, and over Redis to other processes."""
