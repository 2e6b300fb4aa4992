"""Builders of files that ship: the small pose model, calibrations of the demo and screenshots of the page."""
