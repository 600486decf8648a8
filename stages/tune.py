"""tune: search the hyperparameters; the winner into models/hyperparameters.yaml."""

from k49.files import write_json
from k49.pipeline import (
    HYPERPARAMETERS,
    METRICS,
    PLOTS,
    SEARCH,
    dataset_name,
    load_part,
    run_stage,
    write_yaml,
)
from k49.search import search
from k49.settings import Settings


def main(settings: Settings) -> None:
    """Search, then write the winner and a row for each trial."""
    train, val = load_part("train"), load_part("val")
    winner, rows = search(
        settings.tune,
        getattr(settings.spaces, settings.tune.space),
        settings.fit,
        settings.augment,
        train,
        val,
        settings.seed,
        SEARCH,
    )
    scores = [row["val_accuracy"] for row in rows if row["status"] == "completed"]
    metrics = {
        "dataset": dataset_name(),
        "trials": len(rows),
        "completed": len(scores),
        "best_val_accuracy": max(scores),
    }
    write_yaml(HYPERPARAMETERS, winner.model_dump())
    write_json(METRICS / "tune.json", metrics)
    write_json(PLOTS / "trials.json", [{"dataset": metrics["dataset"], **row} for row in rows])
    print(f"best of {len(rows)} trials: val_accuracy {max(scores):.4f} with {winner}")


if __name__ == "__main__":
    run_stage(main)
