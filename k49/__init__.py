"""Kuzushiji-49 with a multilayer perceptron: the library behind the DVC stages in `stages/`."""

import os

# Both are read when Keras is first imported, and must not depend on the user's ~/.keras/keras.json.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong still raises in Python
