"""Incidents: stored, published, and recorded with snapshots and clips."""
