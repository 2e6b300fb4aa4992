"""Calibration of a camera: collect normal footage, fit thresholds, adapt weights, report."""
