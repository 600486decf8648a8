"""calibrate: make the probabilities of the trained model honest; the model that is given away."""

from k49.model_file import calibrated_parts, read_training
from k49.progress import timed
from k49.settings import Provenance, Settings
from k49.stage import MODEL, TRAINED, load_dataset, load_info, run_stage


def main(settings: Settings) -> None:
    """Calibrate on validation, and save the model with its provenance."""
    with timed("importing"):  # Keras takes seconds: settings are checked before
        from k49.calibration.calibrate import calibrate
        from k49.training.model import load_model, save_model

    config, shifts = read_training(TRAINED), settings.evaluate.shifts
    train, val = load_dataset("train"), load_dataset("val")

    with timed("calibrating"):
        result = calibrate(load_model(TRAINED), train, val, shifts, config.seed)

    provenance = Provenance(
        dataset=load_info(), training=config, shifts=shifts, calibration=result.calibration
    )
    save_model(result.model, MODEL, calibrated_parts(provenance, result.detector))
    print(f"{provenance.dataset.name}: {result.calibration}")


if __name__ == "__main__":
    run_stage(main)
