"""The hyperparameter search: an oracle asks, workers train, a journal forgets nothing."""
