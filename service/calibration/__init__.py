"""Calibration of a camera: gather calibration footage, fit thresholds, adapt weights, report."""
