"""The search for hyperparameters: Keras Tuner chooses, workers train."""
