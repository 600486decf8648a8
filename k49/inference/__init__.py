"""Reads characters with a trained model."""
