"""How a model is built and trained: the room that imports Keras."""

import os
import sys

# All are read when Keras or TensorFlow is first imported. The backend must not depend on the user's
# ~/.keras/keras.json. oneDNN announces itself on stderr, past TensorFlow's own log level, on some
# processors only, and its kernels make results differ between processors more than they must.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong still raises in Python
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# Keras imports these if they are there, for wrappers that nothing here uses. Without them a stage
# starts 0.7 to 1.0 s earlier and takes 75 MB less. (`None` makes an import fail.)
UNUSED = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]
try:
    import keras  # noqa: F401
finally:
    for name in UNUSED:
        del sys.modules[name]
