"""Loaded models, shared by clips and live cameras."""
