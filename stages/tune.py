"""tune: search the hyperparameters; the winner into models/hyperparameters.yaml."""

from k49.io import write_yaml
from k49.process import start_server
from k49.progress import timed
from k49.settings import Settings
from k49.stage import (
    HYPERPARAMETERS,
    METRICS,
    PLOTS,
    load_dataset,
    publish,
    run_stage,
    search_folder,
)


def main(settings: Settings) -> None:
    """Search, then write the winner and a row for each trial."""
    # Keras takes seconds: settings are checked before, and the processes of the trials begin to
    # import it at the same time as this one
    start_server("k49.training.fit")
    with timed("importing"):
        from k49.search.search import search, search_config

    train, val = load_dataset("train"), load_dataset("val")

    with timed("trials"):
        result = search(search_config(settings), train, val, search_folder())

    write_yaml(HYPERPARAMETERS, result.winner.model_dump())
    publish(METRICS / "tune.json", result.metrics)
    publish(PLOTS / "trials.json", result.rows)
    print(result)


if __name__ == "__main__":
    run_stage(main)
