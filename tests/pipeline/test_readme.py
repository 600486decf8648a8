"""README's commands, from the first to the last, do what it says; on a tiny data set."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers import README, STAGES, ink, mirror_of, saved, stages_run

pytestmark = pytest.mark.slow

COMMANDS = re.findall(r"^\$ (.+?)(?:\s{2,}# (.+))?$", README, re.MULTILINE)

# What a test can't do, or has done already.
LEFT_OUT = {
    "make repro": "installs, then runs what is run here",
    "make test": "is what runs this",
    "source .venv/bin/activate": "the environment that this runs in",
    "dvc exp run -S data.source=k49": "needs its authors' server",
    "dvc exp run -S train.learning_rate=1e-5": "is what test_experiments.py looks at",
}
SHORT = "-S tune.trials=1 -S tune.epochs=1 -S train.epochs=3 -S train.min_steps=0"
# What stands for the reader's own; fewer seeds, and recipes cut short behind what they set.
PLACES = {
    "/path/to/folder": "{mirror}",
    "/path/to/store": "{mirror}/../store",
    " -S train.epochs=20,80": "",
    "5e-3, 3)": "5e-3, 1)",
    "range(1, 6)": "range(1, 3)",
    **{f"recipe {name})": f"recipe {name}) {SHORT}" for name in ("cnn", "default", "report")},
}
# What a command must print, beside its comment's "reruns ...".
PRINTS = {
    "dvc dag": r"\| evaluate \|",
    "dvc metrics diff": r"(?s)(?=.*test_accuracy)(?=.*overfitting_gap)",
    "dvc params diff": r"train\.epochs",
    "dvc plots diff": r"index\.html",
    "dvc plots show": r"index\.html",
    "dvc exp run $(k49 recipe cnn)": r"(?m)^Running stage 'tune'",
    "dvc exp run $(k49 recipe report)": r"(?m)^Running stage 'tune'",
    "dvc exp run $(k49 recipe default)": r"(?m)^Running stage 'tune'",
    "dvc queue start": r"Started|started",
    "dvc queue start -j 2": r"Started|started",
    "k49 compare main grid-1": r"train\.learning_rate +- +0\.001",
    "dvc push": r"files pushed",
    "dvc exp push --no-cache origin smoother": r"Pushed experiment smoother",
    "k49 compare": r"the same, image for image|better|worse|no difference",
    "k49 compare main faster --format md": r"train\.learning_rate \| - \| 0\.005",
    "k49 report --base main -o report": r"wrote report/report\.md",
    "k49 compare main 'seeds-*'": r"seeds-\* \(2 runs\)",
    "k49 predict scan.png another.jpg": r"(?m)^ *scan\.png (.|\n)*^ *another\.jpg ",
    "k49 predict many.npz --top 1 --format csv": r"(?m)^many\.npz\[1\],1,.,U\+",
    "dvc artifacts get . k49 --out given.keras": r"given\.keras",
}


def test_every_expectation_is_of_a_command_of_the_readme():
    commands = [command for command, _ in COMMANDS]
    assert set(PRINTS) | set(LEFT_OUT) <= set(commands)
    assert all(place in README for place in PLACES)


def test_commands_one_after_the_other(fresh, tmp_path):
    mirror = mirror_of(fresh.path / "data/raw", tmp_path / "mirror")
    for name in ("scan.png", "another.jpg"):
        saved(fresh.path / name, Image.fromarray(255 - ink()))
    np.savez(fresh.path / "many.npz", np.stack([ink(28, 28)] * 2))
    fresh.git("init", "--quiet", "--bare", tmp_path / "origin")
    fresh.git("remote", "add", "origin", tmp_path / "origin")
    fresh.git("push", "--quiet", "origin", "main")
    default = fresh.read("params.yaml")["train"]["learning_rate"]

    for command, comment in COMMANDS:
        if command in LEFT_OUT:
            continue
        changed = command
        for place, mine in PLACES.items():
            changed = changed.replace(place, mine.format(mirror=mirror))
        printed = fresh.run("bash", "-c", changed).stdout
        assert "Traceback" not in printed, command
        assert re.search(PRINTS.get(command, ""), printed), f"{command}: {printed}"
        if reruns := re.search(r"reruns (.+)", comment):
            expected = STAGES if reruns[1] == "everything" else ["check", *reruns[1].split(", ")]
            assert stages_run(printed) == expected, command
        if command.startswith("dvc exp show"):
            assert max(map(len, printed.splitlines())) <= 160, printed
            assert re.search(r"[├└]── .*\[", printed), "shows experiments"
        if command.startswith("dvc queue start"):
            fresh.wait_for_queue()
        if command.startswith("git checkout ."):
            assert not fresh.dvc_json("status")
            assert fresh.read("params.yaml")["train"]["learning_rate"] == default
    assert (fresh.path / "given.keras").is_file()
    assert "more-smoothing" in fresh.git("branch").stdout
