"""Addresses that the service connects to: parsed, checked, and shown without credentials."""
