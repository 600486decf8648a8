"""Commands that start at once, in processes of their own: forks of a server that has imported.

`dvc`, `k49` and `python -m` spend one to four seconds importing DVC, TensorFlow and Matplotlib, and
the tests start hundreds of them. `start` puts commands of the same names into a folder: each is
`client.py`, which asks the server for a fork that runs the real command, with the caller's
arguments, folder, environment and files. Nothing of this project is imported before the fork.

In real processes `site/sitecustomize.py` lets multiprocessing start its servers so, too. Where
K49_WARM is not in the environment, nothing of this takes place.

Tests of how a process starts, or of how it is killed, start one without this.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SITE = HERE / "site"  # for PYTHONPATH
# Read by NumPy's and TensorFlow's libraries when they are loaded, so before a fork's environment
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


def start(folder: Path) -> None:
    """Put the commands into `folder`, and start their server, which ends with this process.

    Until the server is ready, and where it can't run (only Linux has what it needs), they are the
    real ones.
    """
    folder.mkdir()
    client = f"#!{sys.executable} -IS\n{(HERE / 'client.py').read_text('utf-8')}"
    for name in ("dvc", "k49", "python"):
        (folder / name).write_text(client, "utf-8")
        (folder / name).chmod(0o755)
    if sys.platform == "linux":
        command = [sys.executable, HERE / "server.py", folder / "socket"]
        subprocess.Popen(command, cwd=folder, env={**os.environ, **ONE_THREAD})
