"""From skeleton windows to likelihoods: DA-Flow, its training, evaluation and calibration."""
