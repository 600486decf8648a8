"""What a newcomer did with experiments, remotes and models, in one repository, row after row."""

import re
import shutil
from pathlib import Path

from tests.helpers import GUIDE, Repo
from tests.torture.tried import Tried, tried

TABLE = re.findall(r"^\$ (dvc exp show .*?)\s+#", GUIDE, re.MULTILINE)[0]
WAIT = "while dvc queue status | grep -qe Queued -e Running; do sleep 1; done; dvc queue status"
BACK = "git checkout -q . && dvc checkout -q --force"
LOAD = (
    "import keras, numpy; model = keras.saving.load_model('models/model.keras'); "
    "print(model.predict(numpy.zeros((2, 28, 28, 1), 'uint8'), verbose=0).sum(1))"
)
DAY = (  # row, command, exit status, what it says
    ("2", "dvc dag", 0, "evaluate"),
    ("7", "dvc metrics show metrics/train.json metrics/test.json", 0, "test_accuracy"),
    ("8", "dvc metrics show", 0, "overfitting_gap"),
    ("10", "dvc params diff HEAD", 0, ""),
    ("11", "make help", 0, "test-fast"),
    ("13", "dvc exp run --name quick -S train.epochs=3", 0, "Ran experiment(s): quick"),
    ("13 metrics", "dvc metrics diff", 0, "test_accuracy"),
    ("10 changed", "dvc params diff", 0, "train.epochs"),
    ("47", "dvc plots show", 0, "index.html"),
    ("49", "dvc plots diff HEAD quick", 0, "index.html"),
    (
        "14",
        "dvc exp run -n two -S train.learning_rate=1e-5 -S train.epochs=4; git diff params.yaml",
        0,
        "+  learning_rate: ",
    ),
    ("33", "dvc exp diff", 0, "train.learning_rate"),
    ("39", f"{BACK}; git status --porcelain; dvc status", 0, "up to date"),
    (
        "23",
        "dvc exp run --queue -S train.epochs=1,2 -S train.seed=1,2; "
        f"dvc queue start -j 2; {WAIT}; dvc queue logs $(dvc exp list --name-only | head -1)",
        0,
        "Success",
    ),
    (
        "23 all",
        "test $(dvc queue status | grep -c Success) = 4 && dvc queue remove --success",
        0,
        "Removed",
    ),
    ("24", "dvc exp run --temp -n temp -S train.epochs=2 && git status --porcelain", 0, "temp"),
    ("26", TABLE, 0, "quick"),
    ("29", "dvc exp show --csv", 0, "quick"),
    ("30", "dvc exp show --json | python -m json.tool", 0, "quick"),
    ("31", "dvc exp show --md --only-changed", 0, "quick"),
    (
        "32",
        "dvc exp show --only-changed --hide-workspace --sort-by metrics/test.json:test_accuracy",
        0,
        "quick",
    ),
    ("34", "dvc exp rename temp renamed && dvc exp list && dvc exp remove renamed", 0, "renamed"),
    ("35", "dvc exp branch quick kept && git branch", 0, "kept"),
    ("36", "dvc exp apply quick && dvc repro", 0, "up to date"),
    ("38", "dvc exp save --name saved", 0, "saved"),
    ("39 again", f"{BACK}; git status --porcelain; dvc status", 0, "up to date"),
    (
        "40",
        "git clone -q --bare . ../origin; git remote add origin $PWD/../origin; "
        "dvc remote add --default store $PWD/../store && git commit -qam Store && git push -q "
        "origin HEAD && dvc push",
        0,
        "pushed",
    ),
    (
        "41",
        "git clone -q ../origin ../clone && cd ../clone && dvc pull -q && dvc repro && "
        'test -z "$(git status --porcelain)"',
        0,
        "up to date",
    ),
    ("42", "dvc exp push origin quick", 0, "quick"),
    ("42 pulled", "cd ../clone && dvc exp pull origin quick && dvc exp list", 0, "quick"),
    (
        "44",
        "git tag -a k49@v1.0.0 -m first && dvc artifacts get . k49 -o ../got",
        0,
        "Downloaded",
    ),
    ("45", "dvc get $PWD models/model.keras -o ../got.keras && ls ..", 0, "got.keras"),
    ("46", f'python -c "{LOAD}"', 0, "[1"),
    ("27", "git commit -q --allow-empty -m Next; dvc exp show -A --only-changed", 0, "quick"),
    ("65", "k49 predict plots/curves.png", 0, "stand-in"),
    (
        "90",
        "dvc repro --force & sleep 3; ! dvc repro; ! wait $! && exit 9; git status --porcelain",
        0,
        "busy",
    ),
    ("91", "dvc repro --force 2>&1 | head -8; dvc repro && dvc status", 0, "up to date"),
    ("93", "cd k49; dvc repro; k49 compare; k49 recipe cnn", 0, "train.epochs="),
)


def follow(repo: Repo, line: str, status: int, says: str, row: Tried) -> None:
    """Run a command and check what it said; a shell stops at the first error."""
    done = repo.run("bash", "-c", line, check=False)
    row.answered(line, done.stdout, done.returncode, (status, says))


def day(base: Repo, folder: Path) -> Tried:
    """Follow the newcomer through a day."""
    repo = base.copy_to(folder)
    cases = {row: lambda result, rest=rest: follow(repo, *rest, result) for row, *rest in DAY}
    result = tried("newcomer", "a day: experiments, remotes, models", cases)
    shutil.rmtree(folder)
    return result
