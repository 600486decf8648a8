"""Mutants of every kind of file: each gets an answer or a line, soon, and in little memory.

`python -m tests.torture.fuzz N SEED [KIND ...]` prints a line for each that doesn't, and one for
each kind: how many were tried, and the memory that they took.
"""

import base64
import io
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pygit2
from PIL import Image

from k49.data.fetch import fetch
from k49.errors import K49Error
from k49.inference import predict as pictures
from tests import forms
from tests.helpers import CHARACTERS, DATA, PARAMS, ROOT, STANDIN, encoded, info_of, ink
from tests.torture import mutants
from tests.torture.tried import Tried, tried

MUTANTS = 500
SECONDS = 20
MOST_MIB = 1024
Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of file: a good one, how it is damaged, and who reads it."""

    content: bytes
    mutate: Mutate
    read: Callable[[bytes], object]


def peak_mib() -> float:
    """Return the highest memory that this process had, in MiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def fuzz(kind: Kind, n: int, seed: int) -> Iterator[str]:
    """Yield a line for each mutant that ended in anything but an answer or a line."""

    def too_slow(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_slow)
    kind.read(kind.content)  # which also loads what is loaded once
    before = peak_mib()
    for number in range(n):
        mutant = kind.mutate(kind.content, random.Random(f"{seed} {number}"))
        signal.alarm(SECONDS)
        try:
            kind.read(mutant)
        except K49Error as error:
            if not str(error).isprintable():
                yield f"mutant {number}: unprintable: {error!r}"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            yield f"mutant {number}: {error!r:.200} in {Path(last.filename).name}:{last.lineno}"
        finally:
            signal.alarm(0)
        if (peak := peak_mib()) > before + MOST_MIB:
            yield f"mutant {number}: {peak - before:.0f} MiB"
            before = peak


def picture(form: str, folder: Path) -> Kind:
    """A picture of a character."""
    content = encoded(PICTURE, form, **({"exif": exif()} if form in ("JPEG", "WEBP") else {}))
    path = folder / f"picture.{form.lower()}"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        pictures.read(path, info_of())

    return Kind(content, mutants.of_bytes, read)


def exif() -> Image.Exif:
    """What a camera says: the picture is turned."""
    found = Image.Exif()
    found[0x0112] = 6
    return found


def array(folder: Path) -> Kind:
    """An `.npy` of images, for `k49 predict`."""
    file, path = io.BytesIO(), folder / "images.npy"
    np.save(file, np.zeros((9, 28, 28), np.uint8))

    def read(content: bytes) -> None:
        path.write_bytes(content)
        pictures.read(path, info_of())

    return Kind(file.getvalue(), mutants.of_bytes, read)


def dataset(make: Callable, name: str, mutate: Mutate, folder: Path) -> Kind:
    """One file of a dataset."""
    (folder / "source").mkdir()
    path = make(folder / "source")
    file = path if path.is_file() else path / name

    def read(content: bytes) -> None:
        file.write_bytes(content)
        data = DATA.model_copy(update={"source": str(path)})
        fetch(data, STANDIN, *(folder / each for each in ("raw", "downloads", "own")))

    return Kind(file.read_bytes(), mutate, read)


SMALL = forms.made()


def npz(folder: Path) -> Kind:
    """Keras' form: four arrays in a file."""
    return dataset(lambda at: forms.keras(at / "own.npz", SMALL), "", mutants.of_zip, folder)


def idx(folder: Path) -> Kind:
    """MNIST's form."""

    def make(at):
        forms.idx(at, SMALL)
        return at

    return dataset(make, "train-images-idx3-ubyte.gz", mutants.of_gzip, folder)


def classmap(folder: Path) -> Kind:
    """A class map next to K49's form."""

    def make(at):
        forms.npz(at, SMALL, names=CHARACTERS[:3])
        return at

    return dataset(make, "k49_classmap.csv", mutants.of_text, folder)


def description(folder: Path) -> Kind:
    """A dataset's description."""
    from k49.data import descriptions

    path = folder / "mine.yaml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        descriptions.known(folder)

    return Kind((ROOT / "k49/datasets/kmnist.yaml").read_bytes(), mutants.of_text, read)


def model(folder: Path) -> Kind:
    """A model of the project."""
    from k49.inference import predict
    from k49.inference.models import open_model
    from tests.helpers import save_calibrated

    path, images = folder / "model.keras", np.zeros((1, 28, 28, 1), np.uint8)
    save_calibrated(path)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        opened = open_model(path)
        predict.predict(opened, images, top=5)
        predict.describe(opened)

    return Kind(path.read_bytes(), mutants.of_zip, read)


def onnx(folder: Path) -> Kind:
    """The same as ONNX."""
    from k49.inference import predict
    from k49.inference.models import open_model

    path, images = exported(folder), np.zeros((1, 28, 28, 1), np.uint8)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        predict.predict(open_model(path), images, top=5)

    return Kind(path.read_bytes(), mutants.of_bytes, read)


def exported(folder: Path) -> Path:
    """A model as ONNX."""
    from k49.export import Form, export
    from tests.helpers import save_calibrated

    save_calibrated(folder / "model.keras")
    export(folder / "model.keras", {Form.onnx: folder / "model.onnx"})
    return folder / "model.onnx"


def request(kind: str, content: bytes) -> Callable[[Path], Kind]:
    """A body of that kind, for `k49 serve`."""

    def make(folder: Path) -> Kind:
        from k49.serve import reading
        from k49.serve.readers import Refused

        model = reading.open_model(exported(folder))

        def read(content: bytes) -> None:
            try:
                answer, _ = reading.read(model, kind, "", content)
                json.loads(answer)
            except Refused as refused:
                assert refused.status < 500, refused.detail

        return Kind(
            content, mutants.of_bytes if kind.startswith("multi") else mutants.of_text, read
        )

    return make


PICTURE = Image.fromarray(255 - ink()).convert("RGB")
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.png"\r\n\r\n%b\r\n--b--\r\n'


def result(folder: Path) -> Kind:
    """A result of a trial."""
    from rich.console import Console

    from k49.search.progress import results_table
    from k49.search.results import Result, Results, read_results
    from k49.settings import TrainingConfig
    from tests.helpers import NO_AUGMENT, PLAIN, SMALL_MODEL

    config = TrainingConfig(
        hyperparameters=SMALL_MODEL, fit=PLAIN, augment=NO_AUGMENT, epochs=2, seed=1
    )
    results = Results(folder, (), 1)
    path = results.path(config)
    results.add(path, config, Result([0.1, 0.2], 0.2))

    def read(content: bytes) -> None:
        path.write_bytes(content)
        results.get(path)
        Console(file=io.StringIO()).print(results_table(read_results(folder)))

    return Kind(path.read_bytes(), mutants.of_text, read)


def params(folder: Path) -> Kind:
    """params.yaml."""
    from k49.settings import ineffective_settings
    from k49.stage import load_settings

    path = folder / "params.yaml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        ineffective_settings(load_settings(path))

    return Kind(PARAMS.read_bytes(), mutants.of_text, read)


RUN = {  # all that `k49 compare` and `k49 report` read of a commit: the committed run's
    name: (ROOT / name).read_bytes()
    for name in (
        "params.yaml",
        "models/hyperparameters.yaml",
        "metrics/train.json",
        "plots/curves.json",
        "predictions/val_classes.npz",
        "predictions/test_classes.npz",
    )
}


def revision(path: str, mutate: Mutate) -> Callable[[Path], Kind]:
    """A file of a revision that is compared with this project's committed run."""

    def make(folder: Path) -> Kind:
        from dvc.repo import Repo as DvcRepo

        from k49.comparison import text
        from k49.comparison.compare import compare
        from k49.plots import report as figures
        from k49.revisions import revisions

        git = pygit2.init_repository(folder)
        DvcRepo.init(str(folder)).close()
        base = commit(git, RUN)

        def read(content: bytes) -> None:
            changed = commit(git, {**RUN, path: content})
            with revisions(folder) as found:
                sides = [found.side(name) for name in (base, changed)]
                result = compare(*sides, resamples=100)
                curves = [[found.curves(name)] for name in (base, changed)]
                figures.curves(result, *curves)
            figures.changes(result)
            text.report(result, [], {})
            text.as_json(result)
            text.terminal(result)

        return Kind(RUN[path], mutate, read)

    return make


def commit(git: pygit2.Repository, contents: dict[str, bytes], links: Sequence[str] = ()) -> str:
    """Commit files, and nothing else; return the commit's name. `links` are symbolic links."""
    index = pygit2.Index()
    for name, content in contents.items():
        mode = pygit2.enums.FileMode.LINK if name in links else pygit2.enums.FileMode.BLOB
        index.add(pygit2.IndexEntry(name, git.create_blob(content), mode))
    who = pygit2.Signature("Test", "test@example.invalid", 0, 0)
    return str(git.create_commit(None, who, who, "mutant", index.write_tree(git), []))


FORMS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")
KINDS: dict[str, Callable[[Path], Kind]] = {
    **{form: lambda folder, form=form: picture(form, folder) for form in FORMS},
    "npy": array,
    "npz": npz,
    "idx": idx,
    "class map": classmap,
    "description": description,
    "keras": model,
    "onnx": onnx,
    "request: form": request("multipart/form-data; boundary=b", FILE % encoded(PICTURE)),
    "request: JSON": request(
        "application/json", b'{"images": ["%b"]}' % base64.b64encode(encoded(PICTURE))
    ),
    "result": result,
    "params": params,
    "revision: params": revision("params.yaml", mutants.of_text),
    "revision: train.json": revision("metrics/train.json", mutants.of_text),
    "revision: curves.json": revision("plots/curves.json", mutants.of_text),
    "revision: classes": revision("predictions/test_classes.npz", mutants.of_zip),
}


def section(_, folder: Path) -> Iterator[Tried]:
    """MUTANTS of each kind, in a process of its own."""

    def case(name: str, row: Tried) -> None:
        command = [sys.executable, "-m", "tests.torture.fuzz", str(MUTANTS), "49", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        *faults, last = done.stdout.splitlines() or [done.stderr[-500:]]
        row.faults += faults
        row.check(done.returncode == 0 and f"{MUTANTS} mutants" in last, f"{name}: {last}")

    for name in KINDS:
        row = tried("fuzz", f"{MUTANTS} mutants: {name}", {name: partial(case, name)})
        row.tries = MUTANTS
        yield row


def main() -> None:
    """Print what each kind's mutants did wrong."""
    n, seed, *names = sys.argv[1:]
    for name in names or KINDS:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            kind = KINDS[name](Path(folder))
            begun = peak_mib()
            found = list(fuzz(kind, int(n), int(seed)))
        for line in found:
            print(f"{name}: {line}")
        print(f"{name}: {n} mutants, {len(found)} faults, {peak_mib() - begun:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
