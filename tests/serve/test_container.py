"""The steps of Containerfile, in an environment that has nothing else."""

import json
import re
import subprocess
import sys
from shutil import copy2, copytree

import pytest

from tests.helpers import ROOT, copy_files
from tests.serve.served import PICTURE, Served

FILE = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")


def steps(instruction: str) -> list[str]:
    """What stands behind an instruction, each time."""
    return re.findall(rf"^{instruction} (.+)$", FILE, re.MULTILINE)


@pytest.mark.slow
def test_steps_of_the_containerfile_make_a_server(model, tmp_path):
    copy_files(source := tmp_path / "source")
    copytree(model.parent, source / "models", dirs_exist_ok=True)
    inside = tmp_path / "inside"
    for step in steps("COPY"):
        *names, target = step.split()
        place = inside / target.strip("/")
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (source / name).is_dir():
                copytree(source / name, place, dirs_exist_ok=True)
            else:
                copy2(source / name, place)
    environment = tmp_path / "environment"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
    for step in steps("RUN"):
        command = step.replace("pip install --no-cache-dir", "uv pip install --quiet").split()
        command = [str(inside / word[1:]) if word.startswith("/") else word for word in command]
        subprocess.run([*command, "--python", environment], check=True, cwd=tmp_path)
    (entry,) = map(json.loads, steps("ENTRYPOINT"))
    assert entry[:4] == ["k49", "serve", "--host", "0.0.0.0"]
    command = [environment / "bin" / entry[0], entry[1]]
    served = Served(tmp_path, "--model", inside / entry[-1].strip("/"), command=command)
    found = served.post(PICTURE)
    assert (found.status_code, len(found.json()["rows"])) == (200, 5)
    assert served.end() == 130
    installed = {path.name for path in environment.glob("lib/python*/site-packages/*")}
    assert {"k49", "onnxruntime"} <= installed
    assert not {"tensorflow", "keras", "dvc", "dask"} & installed
