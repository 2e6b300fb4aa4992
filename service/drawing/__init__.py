"""Draws people on pictures, and writes videos."""
