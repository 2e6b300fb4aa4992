"""Access: keys and sessions, limits of requests, and the rule that decides who may do what."""
