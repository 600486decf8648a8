"""Honest probabilities of a trained model: temperature, thresholds, detector of outliers."""
