"""How a model is built and trained: the room that imports Keras."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from k49.errors import K49Error

# All are read when Keras or TensorFlow is first imported. Results must not depend on what is set
# for other programs: on the backend, and on flags of XLA, of which an unknown one would abort.
# oneDNN's convolutions are 2.7 times as fast as TensorFlow's own.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.pop("XLA_FLAGS", None)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong still raises in Python
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Keras imports these if they are there, for wrappers that nothing here uses. Without them a stage
# starts 0.7 to 1.0 s earlier and takes 75 MB less. (`None` makes an import fail.)
UNUSED = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
ONEDNN_NOTICE = (b"oneDNN custom operations are on", b"before absl::InitializeLog()")


@contextmanager
def without_onednn_notice() -> Iterator[None]:
    """Keep from stderr that oneDNN is on, which it says past Python and TensorFlow's log level."""
    with TemporaryFile() as captured:
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in captured:
                if not any(notice in line for notice in ONEDNN_NOTICE):
                    os.write(2, line)


sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]
try:
    with without_onednn_notice():
        import keras
except (AssertionError, ValueError, AttributeError, TypeError) as error:  # of what is set there
    raise K49Error(f"~/.keras/keras.json: Keras can't use it ({error}); remove it") from error
finally:
    for name in UNUSED:
        del sys.modules[name]

# whatever ~/.keras/keras.json says
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
if keras.config.backend() != "tensorflow":
    raise K49Error(
        f"Keras runs on {keras.config.backend()} in this process already; import k49 before keras, "
        "or set KERAS_BACKEND to tensorflow"
    )
