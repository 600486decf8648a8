"""What a newcomer tried (192 rows): those that are one input or one command, by their numbers.

Those that build on each other are in `day`, kills in `kills` (83, 85 to 89), odd places in
`environments` and `disk` (92, 95, 96), mirrors and damaged datasets (153 to 192) in `network`,
`tests/data/test_fetch.py` and `tests/data/test_malformed.py`.
"""

import io
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from k49.errors import K49Error
from k49.stage import load_settings
from tests.helpers import ROOT, Repo, environment, ink
from tests.torture.day import BACK, day, follow
from tests.torture.tried import Tried, tried

REFUSED = {  # row: key, value, what the line says; None: it is allowed
    98: ("train.epochs", "0", "greater than or equal to 1, is 0"),
    99: ("train.epochs", "-3", "is -3"),
    100: ("train.epochs", "abc", "valid integer, is 'abc'"),
    101: ("train.epochs", "2.5", "valid integer"),
    102: ("fit.dropout", "1.0", "less than 1"),
    103: ("train.learning_rate", ".nan", "finite number"),
    104: ("train.learning_rate", ".inf", "finite number"),
    105: ("train.learning_rate", "0", "greater than 0"),
    106: ("train.seed", "-1", "greater than or equal to 0"),
    107: ("train.seed", "99999999999999999999", "2147483648"),
    108: ("tune.space", "nope", "no space nope, spaces has: "),
    109: ("spaces.default.activation", "[relu, foo]", "spaces.default.activation.1"),
    110: ("spaces.default.activation", "relu", "valid list"),
    115: ("data.source", "''", "at least 1 character"),
    117: ("spaces.default.layers.min", "9", "min (9) is above max (4)"),
    120: ("data.mirrors", "[]", None),
    121: ("data.mirrors", "[http://localhost:1/x]", None),
    122: ("data.retries", "1000000", "less than or equal to 20"),
    127: ("evaluate", "null", "evaluate"),
    128: ("augment.enabled", "no", "valid boolean, is 'no'"),
    129: ("augment.enabled", "'true'", "valid boolean"),
    130: ("standin.scale", "0", "greater than 0"),
    132: ("standin.scale", "50", "less than or equal to 10"),
    133: ("standin.train_books", "0", "greater than or equal to 1"),
    134: ("split.validation_share", "1.0", "less than 1"),
    137: ("fit.batch_size", "-1", "greater than or equal to 1"),
    138: ("evaluate.resamples", "10000000000", "1000000"),
    139: ("evaluate.resamples", "99", "greater than or equal to 100"),
    140: ("augment.elastic_grid", "13", "less than or equal to 12"),
    141: ("augment.rotation", "1e300", "less than or equal to 3.2"),
    142: ("fit.label_smoothing", "1", "less than 1"),
    143: ("fit.warmup_ratio", "1", "less than 1"),
    144: ("spaces.default.units.min", "0", "greater than or equal to 1"),
    145: ("spaces.default.layers.step", "0", "greater than or equal to 1"),
    146: ("spaces.default.activation", "[]", "at least 1 item"),
    151: ("standin.train_books", "1000000000", "less than or equal to 1000"),
    152: ("fit.batch_size", "1000000000000", "less than or equal to 65536"),
}
PARAMS = (ROOT / "params.yaml").read_bytes()
WHOLE = {  # row: the content of params.yaml, what the line says
    123: (PARAMS + b"\nsead: 50\n", "sead: unknown key"),
    124: (PARAMS + b"\na:\n\tb: 1\n", "not valid YAML"),
    125: (PARAMS + b"\ntrain: {}\n", "not valid YAML"),
    126: (PARAMS.replace(b"\naugment:", b"\naugmented:"), "augment: missing"),
    147: (PARAMS.replace(b"\n", b"\r\n"), None),
    148: (PARAMS + b"\x00", "not valid YAML"),
    149: (b"- a\n- b\n", "top level"),
    150: (b"", "top level"),
}


def settings(folder: Path, content: bytes, says: str | None, row: Tried) -> None:
    """Load settings; they are refused in a line that says so, or allowed."""
    path = folder / f"{abs(hash(content))}.yaml"
    path.write_bytes(content)
    try:
        load_settings(path)
        said = None
    except K49Error as error:
        said = str(error)
    holds = said is None if says is None else said is not None and says in said
    row.check(holds and (said or "").isprintable(), f"said {said!r}, expected {says!r}")


def with_value(key: str, value: str) -> bytes:
    """Return params.yaml with one value changed."""
    yaml = YAML()
    content = yaml.load(PARAMS)
    at = content
    *sections, last = key.split(".")
    for section_name in sections:
        at = at[section_name]
    at[last] = YAML().load(value)
    text = io.BytesIO()
    yaml.dump(content, text)
    return text.getvalue()


PREDICTED = {  # rows: arguments of `k49 predict`, exit status, what is said or printed
    "64 blank": ("blank.png", 1, "blank"),
    "66 CMYK, palette, 16 bit, 1 bit": ("cmyk.tif palette.gif deep.png bit.png", 0, "U+"),
    "67 odd names": ("日本_'語.png", 0, "日本"),
    "68 npz": ("many.npz --top 1 --format csv", 0, "many.npz[3]"),
    "69 to 71 npy": ("one.npy four.npy", 0, "U+"),
    "72 objects": ("objects.npy", 1, "objects.npy"),
    "74 empty, text, cut off": ("empty.png text.png cut.png", 1, "text.png: not a picture"),
    "75 good and bad": ("blank.png good.png", 1, "U+"),
    "76 folder": (".", 1, "not a file"),
    "77 no model": ("good.png --model text.png", 1, "not a Keras model"),
    "78 missing model": ("good.png --model /nope", 1, "no such model"),
    "82 standard input": ("- < good.png", 0, "U+"),
    "79 head": ("many.npz | head -1", 0, "image"),
    "80 LANG=C": ("good.png", 0, "U+"),
    "81 ascii": ("good.png", 0, "U+"),
    "94 from below": ("../good.png", 0, "U+"),
    "19 usage": ("--help", 0, "Usage"),
    "20 version": ("--version", 0, "k49 "),
}


def make_files(folder: Path) -> None:
    """Pictures and arrays of many kinds."""
    good = Image.fromarray(255 - ink())
    good.save(folder / "good.png")
    Image.new("L", (90, 90), 240).save(folder / "blank.png")
    good.convert("CMYK").save(folder / "cmyk.tif")
    good.convert("P").save(folder / "palette.gif")
    Image.fromarray((255 - ink()).astype(np.uint16) * 257).save(folder / "deep.png")
    good.convert("1").save(folder / "bit.png")
    good.save(folder / "日本_'語.png")
    np.savez(folder / "many.npz", np.zeros((4, 28, 28), np.uint8))
    np.save(folder / "one.npy", np.zeros((28, 28), np.uint8))
    np.save(folder / "four.npy", np.zeros((4, 28, 28, 1), np.uint8))
    np.save(folder / "objects.npy", np.array([None]), allow_pickle=True)
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:200])


def predicted(repo: Repo, name: str, row: Tried) -> None:
    """Run `k49 predict` with a row's arguments."""
    arguments, status, says = PREDICTED[name]
    odd = {"80": {"LC_ALL": "C", "LANG": "C"}, "81": {"PYTHONIOENCODING": "ascii"}}
    env = {**environment(repo.path, warm=False), **odd.get(name[:2], {})}
    command = "k49" if arguments.startswith("--v") else "k49 predict"
    folder = repo.path / ("k49" if name.startswith("94") else ".")
    quoted = arguments.replace("'", "\\'")
    done = subprocess.run(
        ["bash", "-c", f"{command} {quoted}"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    row.answered(name, done.stdout + done.stderr, done.returncode, (status, says))


COMMANDS = {  # rows: a command in a reproduced repository, its exit status, what it says
    "5 repro again": ("dvc repro", 0, "up to date"),
    "6 status": ("dvc status", 0, "up to date"),
    "9 metrics diff": ("dvc metrics diff HEAD", 0, ""),
    "14 two settings": ("dvc exp run -S evaluate.shifts=0 -S evaluate.seed=7", 0, "evaluate"),
    "15 recipe": ("k49 recipe report", 0, "train.learning_rate=null"),
    "17 recipe": ("k49 recipe default", 0, "augment.rotation="),
    "18 no recipe": ("dvc exp run $(k49 recipe nope)", 254, "no recipe nope"),
    "20 version": ("k49 --version", 0, "k49 "),
    "25 sweep": ("dvc exp run -S train.epochs=2,3", 255, "queue"),
    "37 nothing to apply": ("dvc exp apply nope", 255, "nope"),
    "84 after Ctrl-C": ("git checkout -q . && dvc checkout --force && dvc repro", 0, "up to date"),
    "111 no folder": ("dvc exp run -S data.source=/nonexistent", 255, "no folder /nonexistent"),
    "112 ftp": ("dvc exp run -S data.source=ftp://x/y", 255, "only http and https"),
    "113 K49": ("dvc exp run -S data.source=K49", 255, "no folder K49"),
    "120 mirrors": ("dvc exp run -S 'data.mirrors=[]'", 0, ""),
    "122 retries": ("dvc exp run -S data.retries=1000000", 255, "less than or equal to 20"),
    "131 tiny": ("dvc exp run -S standin.validation=1", 255, "standin.validation"),
    "135 share": ("dvc exp run -S split.validation_share=0.99999", 255, "validation_share"),
    "136 share": ("dvc exp run -S split.validation_share=1e-9", 255, "validation_share"),
}


def command(repo: Repo, name: str, row: Tried) -> None:
    """Run a command, then go back."""
    follow(repo, *COMMANDS[name], row)
    repo.run("bash", "-c", BACK)


def section(base: Repo, folder: Path) -> Iterator[Tried]:
    """All of them."""
    (folder / "settings").mkdir(parents=True)
    cases = {
        str(number): partial(settings, folder / "settings", with_value(key, value), says)
        for number, (key, value, says) in REFUSED.items()
    }
    for number, (content, says) in WHOLE.items():
        cases[str(number)] = partial(settings, folder / "settings", content, says)
    yield tried("newcomer", "settings", cases)
    repo = base.copy_to(folder / "predict")
    make_files(repo.path)
    cases = {name: partial(predicted, repo, name) for name in PREDICTED}
    yield tried("newcomer", "`k49 predict`", cases, at_once=2)
    repo = base.copy_to(folder / "commands")
    cases = {name: partial(command, repo, name) for name in COMMANDS}
    yield tried("newcomer", "commands", cases)
    shutil.rmtree(folder / "commands")
    yield day(base, folder / "day")
