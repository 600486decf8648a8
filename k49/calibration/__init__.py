"""Honest probabilities of a trained model: temperature, thresholds, detector of outliers."""

import k49.training  # noqa: F401  sets Keras up, before the modules of this room import it
