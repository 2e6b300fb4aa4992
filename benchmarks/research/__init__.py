"""Figures about the models: published tables, baselines, ablations and calibration, measured on data sets."""
