"""The search for hyperparameters: Keras Tuner chooses, Dask's workers train."""

from k49.errors import K49Error

try:
    import dask.config  # noqa: F401  (which reads ~/.config/dask)
except ValueError as error:
    raise K49Error(f"Dask can't be imported: {error}") from error
