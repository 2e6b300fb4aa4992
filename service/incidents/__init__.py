"""Incidents: stored, told, and recorded with evidence."""
