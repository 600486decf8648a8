"""A small search: what the tests of it share."""

import numpy as np

from k49.io import read_json, read_yaml, write_json, write_yaml
from k49.search.search import search_config
from k49.settings import SearchConfig
from k49.stage import load_settings
from tests.helpers import PARAMS

TRIALS = 3


def config(**changes) -> SearchConfig:
    """The committed search, over small models and few epochs."""
    found = search_config(load_settings(PARAMS))
    layers = found.space.layers.model_copy(update={"min": 1, "max": 3, "step": 1})
    units = found.space.units.model_copy(update={"min": 8, "max": 64, "step": 8})
    trials = {"trials": TRIALS, "epochs": 2}
    keys = set(type(found.tune).model_fields) - {"space"}
    trials |= {key: changes.pop(key) for key in list(changes) if key in keys}
    return found.model_copy(
        update={
            "tune": found.tune.model_copy(update=trials),
            "space": found.space.model_copy(update={"layers": layers, "units": units}),
            **changes,
        }
    )


def prepare(folder, train, val, scheduler=None):
    """A folder that has what stage tune reads."""
    params = read_yaml(PARAMS)
    small = config(scheduler=scheduler)
    params["tune"] = small.tune.model_dump()
    params["spaces"][small.tune.space] = small.space.model_dump()
    for name in ("data/split", "metrics"):
        (folder / name).mkdir(parents=True)
    write_yaml(folder / "params.yaml", params)
    write_json(folder / "metrics/data.json", {"dataset": "bars"})
    for name, dataset in {"train": train, "val": val}.items():
        np.save(folder / f"data/split/{name}_images.npy", dataset.images)
        np.save(folder / f"data/split/{name}_labels.npy", dataset.labels)
    return folder


def assert_as_alone(folder, uninterrupted):
    """The same winner and trials as of a search that nothing disturbed, on one machine."""
    assert read_yaml(folder / "models/hyperparameters.yaml") == uninterrupted.winner.model_dump()
    rows = read_json(folder / "plots/trials.json")
    assert rows == [{"dataset": "bars", **row} for row in uninterrupted.rows]
