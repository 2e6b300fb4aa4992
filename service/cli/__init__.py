"""The command `daflow`, one module per command."""
