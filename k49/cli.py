"""The command `k49`; each imports what takes long only when it is called."""

import io
import json
import os
import sys
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from k49 import export as forms
from k49.errors import K49Error, NotComparableError, status_of
from k49.io import MOST_CLASSES, flatten, write_text
from k49.text import ReadingOrder, printable

TO_LOWER = "give it fewer or smaller files"
SERVING = ("granian", "multipart", "onnxruntime", "prometheus_client", "starlette")
TRIALS_KEPT = 1_000  # by `k49 trials --prune`

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class PredictionFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


class RankingFormat(StrEnum):
    table = "table"
    md = "md"
    json = "json"
    csv = "csv"


class ComparisonFormat(StrEnum):
    table = "table"
    md = "md"
    json = "json"


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"k49 {version('k49')}")
        raise typer.Exit


@app.callback()
def k49(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Reads single Kuzushiji, the cursive characters of old Japanese books."""


@app.command()
def predict(  # noqa: PLR0913  (options of a command)
    images: Annotated[
        list[Path],
        typer.Argument(help="Pictures, - for standard input, or .npz and .npy files of images."),
    ],
    model: Annotated[
        Path | None, typer.Option(help="The model file; by default the project's.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MOST_CLASSES, help="Characters to print.")] = 5,
    format: Annotated[
        PredictionFormat, typer.Option(help="How to print.")
    ] = PredictionFormat.table,
    reading_order: Annotated[
        ReadingOrder,
        typer.Option(help="vertical: columns from the right; horizontal: rows from the top."),
    ] = "auto",
    save_crops: Annotated[
        Path | None, typer.Option(help="A folder for the images that the network reads, as PNG.")
    ] = None,
) -> None:
    """Read the characters in pictures.

    Prints the likeliest characters of each, with code point and probability. A picture may hold
    several characters, in columns or rows, if they don't touch each other.
    """
    from k49.inference import predict as inference
    from k49.inference.models import open_model, project_model

    chosen = open_model(model) if model else project_model(project() / "models")
    layout = inference.layout_by(chosen, reading_order)
    read_one = partial(inference.read, dataset=chosen.dataset, layout=layout)
    characters, _, faults = inference.read_all(images, read_one)
    if save_crops:
        inference.save_crops(characters, save_crops)
    if characters:
        rows = inference.predict_rows(chosen, characters, top)
        for line in inference.describe(chosen):
            warn(line)
        if format is PredictionFormat.table:
            show(inference.as_table(rows))
        else:
            print({"json": inference.as_json, "csv": inference.as_csv}[format](rows))
    for fault in faults:
        warn(f"error: {fault}")
    if faults:
        raise typer.Exit(1)


@app.command()
def serve(  # noqa: PLR0913  (options of a command)
    model: Annotated[
        Path | None, typer.Option(help="The model file, of ONNX; by default the project's.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8049,
    workers: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Processes that read.", show_default="one a processor"),
    ] = os.cpu_count() or 1,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=600, help="Seconds to arrive, to wait and to be read: each."),
    ] = 10,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of a page that may ask, as https://example.org (CORS)."),
    ] = None,
) -> None:
    """Read characters over HTTP, and show the page that does.

    POST pictures to /v1/predict; /openapi.json describes it all. Whoever can reach the address can
    ask: by default this machine alone.
    """
    if missing := [name for name in SERVING if find_spec(name) is None]:
        raise K49Error(f"serve needs {', '.join(missing)}: `pip install -e '.[serve]'`")
    from k49.process import start_server

    start_server("k49.serve.reading")  # takes as long as all that follows
    from k49.serve.readers import Limits
    from k49.serve.server import serve

    serve(model or project() / "models", host, port, Limits(workers, timeout), allow_origin or ())


@app.command()
def export(
    format: Annotated[forms.Form, typer.Option(help="The form to write.")] = forms.Form.onnx,
    model: Annotated[
        Path | None, typer.Option(help="The model file; by default the project's.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; by default model.onnx etc.")
    ] = None,
    averaged: Annotated[
        bool,
        typer.Option("--averaged", help="ONNX that averages over shifts, as `predict` does."),
    ] = False,
) -> None:
    """Write the model in a form for other programs.

    onnx takes uint8 images and gives probabilities, and how unlike the training data an image is;
    html is a page that reads in a browser, offline.
    """
    from k49.revisions import commit_of

    if averaged and format is not forms.Form.onnx:
        raise K49Error(f"--averaged: only ONNX has a graph that can average, not {format}")
    folder, path = project(), output or Path(f"model.{format}")
    facts = {
        "metrics": {} if model else forms.metrics_of(folder),
        "commit": None if model else commit_of(folder),
        "averaged": averaged,
    }
    forms.export(model or folder / "models" / "model.keras", {format: path}, **facts)
    print(f"wrote {path}: {path.stat().st_size:,} bytes")


def project() -> Path:
    """Return the project's folder: the nearest above with a dvc.yaml, else the current folder."""
    here = Path.cwd()
    above = (folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file())
    return Path(os.path.relpath(next(above, here)))


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A git revision, an experiment of DVC, or workspace. Names with commas between "
            "them, or a pattern of experiments' names ('seeds-*'), are one group of seeds."
        ),
    ] = "HEAD",
    b: Annotated[
        str, typer.Argument(help="As A: the side that is compared with it.")
    ] = "workspace",
    format: Annotated[
        ComparisonFormat, typer.Option(help="How to print.")
    ] = ComparisonFormat.table,
    if_comparable: Annotated[
        bool,
        typer.Option(
            "--if-comparable",
            help="Where A or B has no run, or other test images: say so, and exit with 0.",
        ),
    ] = False,
) -> None:
    """Say whether B is better than A on the same test images.

    Prints the differences of accuracies and gaps with 95 % confidence intervals, the classes that
    changed most, the parameters that differ, and a verdict. Everything is read from git: neither
    cache nor remote is needed.
    """
    from k49.comparison import compare as comparing
    from k49.comparison import text
    from k49.revisions import revisions

    with revisions(project()) as runs:
        try:
            result = comparing.compare(runs.side(a), runs.side(b))
        except NotComparableError as error:
            if not if_comparable:
                raise
            print(printable(f"nothing to compare with: {error}"))
            return
    if format is ComparisonFormat.table:
        show(text.terminal(result))
    else:
        print({"md": text.markdown, "json": text.as_json}[format](result))


@app.command()
def rank(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Git revisions, experiments of DVC, or patterns of their names; the first is the "
            "base. Without: HEAD, and all experiments that were started from it."
        ),
    ] = None,
    num: Annotated[
        int, typer.Option("--num", "-n", min=1, help="Of so many commits, HEAD the last.")
    ] = 1,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", "-A", help="Of all commits that have experiments.")
    ] = False,
    format: Annotated[RankingFormat, typer.Option(help="How to print.")] = RankingFormat.table,
    figure: Annotated[
        Path | None, typer.Option(help="A file for a picture of the ranking, as rank.png.")
    ] = None,
) -> None:
    """Rank many experiments, and say which can't be told apart from the best.

    Experiments that differ in train.seed alone are one setting. Validation accuracy chooses, never
    test; differences have 95 % intervals that hold at once for all of them. Everything is read from
    git: neither cache nor remote is needed.
    """
    from k49.comparison import ranking_text as text
    from k49.comparison.ranking import rank
    from k49.revisions import revisions

    with revisions(project()) as runs:
        entries, left_out = runs.entries(names or (), None if all_commits else num)
    ranking = rank(entries, left_out)
    if format is RankingFormat.table:
        show(text.terminal(ranking, Console().width if sys.stdout.isatty() else 10_000))
    else:
        print({"md": text.markdown, "json": text.as_json, "csv": text.as_csv}[format](ranking))
    if figure:
        from k49.plots import report as figures
        from k49.plots.figures import save

        save(figures.ranking(ranking), figure)
        warn(f"wrote {figure}")


@app.command()
def suspects(
    runs: Annotated[
        str,
        typer.Argument(help="A run, or runs of folds ('folds-*'), as A of `compare`."),
    ] = "HEAD",
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images to print.")] = 50,
    format: Annotated[PredictionFormat, typer.Option(help="How to print.")] = (
        PredictionFormat.table
    ),
    figure: Annotated[
        Path | None, typer.Option(help="A file for a gallery of the first ones, as suspects.png.")
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(help="A file for a page to decide on each, as review.html."),
    ] = None,
) -> None:
    """List the images whose label is most likely wrong.

    Each image is judged by a model that never trained on it: test and validation by a run, all
    train images by runs of split.fold. What was read comes from git, the images from data/raw.
    """
    from k49.comparison import suspects as suspecting
    from k49.data import raw as raws
    from k49.revisions import revisions
    from k49.stage import RAW

    folder = project() / RAW
    raw = {split: raws.read(folder, split) for split in ("train", "test")}
    with revisions(project()) as known:
        judges = known.side_with_corrections(runs)
    opinions, notes = suspecting.collect(judges, raw["train"], raw["test"])
    first, corrections = judges[0]
    found = suspecting.find_suspects(opinions, first.test.classes)
    rows = suspecting.rows(found, top)
    if format is PredictionFormat.table:
        show(suspecting.as_table(rows))
        for line in (*(f"note: {note}" for note in notes), suspecting.sentence(found)):
            print(printable(line))
    elif format is PredictionFormat.json:
        print(suspecting.as_json(found, rows))
    else:
        print(suspecting.as_csv(rows))
    if figure:
        from k49.plots.figures import save
        from k49.plots.suspects import gallery

        save(gallery(found, top, raw, first.dataset), figure)
        warn(f"wrote {figure}")
    if review:
        from k49.comparison.review import review_page

        page = review_page(found, top, raw, first.dataset, corrections)
        write_text(review, page)
        warn(f"wrote {review}; open it in a browser")


@app.command()
def report(
    base: Annotated[
        str, typer.Option(help="The side to compare it with, as A of `compare`.")
    ] = "main",
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="The side to judge, as B of `compare`; given several times, all are ranked, and "
            "the best on validation is judged.",
            show_default="workspace",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write into.")
    ] = Path("report"),
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit with 1 if it breaks a limit of params.yaml.")
    ] = False,
) -> None:
    """Write a comparison as a page with pictures.

    Verdict, metrics, parameters, learning curves of both, and the classes and confusions that
    changed most: report.md, for a pull request. Of several heads also a ranking.
    """
    from k49.comparison import compare as comparing
    from k49.comparison import ranking_text, text
    from k49.comparison.ranking import rank
    from k49.plots import report as figures
    from k49.plots.figures import save
    from k49.revisions import WORKSPACE, revisions
    from k49.stage import PARAMS, load_settings

    limits = load_settings(project() / PARAMS).gate
    heads, ranking = head or [WORKSPACE], None
    with revisions(project()) as runs:
        if len(heads) > 1:
            ranking = rank(*runs.entries([base, *heads], None))
            candidates = [group for group in ranking.groups if group.to_base]
            if not candidates:
                raise K49Error(f"{', '.join(heads)}: none can be ranked with {base}")
            heads = [",".join(name.split(" ")[0] for name in candidates[0].names)]
        result = comparing.compare(runs.side(base), runs.side(heads[0]))
        of_base, of_head = ([runs.curves(n) for n in runs.names(s)] for s in (base, heads[0]))
    faults = comparing.gate(result, limits)
    save(figures.curves(result, of_base, of_head), output / "curves.png")
    save(figures.changes(result), output / "changes.png")
    pictures = {
        "curves.png": "Loss and accuracy of both while training",
        "changes.png": "Classes and confusions that changed most",
    }
    page = text.report(result, faults, pictures)
    if ranking:
        save(figures.ranking(ranking), output / "rank.png")
        page += f"\n## All that were asked for\n\n{ranking_text.markdown(ranking)}\n![](rank.png)\n"
    write_text(output / "report.md", page)
    print(f"{text.sentence(result)}\nwrote {output / 'report.md'}")
    if gate and faults:
        raise K49Error(f"gate: {'; '.join(faults)}")


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(help="cnn, default, report or resnet.")],
) -> None:
    """Print a recipe as options for `dvc exp run`.

    For `dvc exp run $(k49 recipe report)`: it sets everything but the data, whatever was changed
    before, and `-S` after it changes it.
    """
    from k49.settings import RECIPES, read_recipe

    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    if name not in known:
        print(f"--no-recipe-{name}")  # which DVC refuses, too: the shell drops this exit status
        raise K49Error(f"no recipe {name}; known: {', '.join(known)}")
    for key, value in flatten(read_recipe(name)):
        print(f"--set-param=++{key}={json.dumps(value, separators=(',', ':'))}")


@app.command()
def trials(
    name: Annotated[
        str | None, typer.Argument(help="One trial, by the beginning of its name in the list.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove that trial: a search trains it again.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help=f"Remove all but the last {TRIALS_KEPT:,} trials.")
    ] = False,
) -> None:
    """List the trials of all searches, which no search trains again.

    `dvc repro` takes the result of a trial from here if settings, data, versions and code are the
    same. The trials of the last search are in plots/trials.json, too.
    """
    from k49.search.progress import results_table
    from k49.search.results import read_results
    from k49.stage import SEARCH

    folder = project() / SEARCH
    known = read_results(folder)
    chosen = {path: known[path] for path in known if path.stem.startswith(name or "")}
    if not chosen and name is not None:
        raise K49Error(f"no trial {name} in {folder}; `k49 trials` lists them")
    if remove and (name is None or len(chosen) > 1):
        raise K49Error(
            f"--remove needs the name of one trial; --prune removes all but the last "
            f"{TRIALS_KEPT:,}"
        )
    if remove or prune:
        removed = list(chosen) if remove else list(known)[:-TRIALS_KEPT]
        for path in removed:
            path.unlink(missing_ok=True)
        print(f"removed {len(removed)} of {len(known)} trials from {folder}")
    else:
        show(results_table(chosen) if chosen else f"no trial in {folder}")


def show(renderable: RenderableType) -> None:
    """Print a table or a line, as wide as it is where it is not a terminal."""
    Console(width=None if sys.stdout.isatty() else 10_000).print(renderable)


def main() -> None:
    """Run the command; whatever stops it ends in one line.

    Exit status: 1 after an error, 2 after wrong options or arguments, 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an ASCII terminal shows \\u3042 for あ
    status = status_of("error", run_command, TO_LOWER, "stopped")
    if "granian" in sys.modules:
        from k49.process import leave

        leave(status)
    sys.exit(status)


def run_command() -> int:
    try:
        status = app(standalone_mode=False) or 0
        sys.stdout.flush()  # here a closed pipe is noticed
    except typer.Abort as error:  # Typer's name for Ctrl-C
        raise KeyboardInterrupt from error
    except Exception as error:
        if not hasattr(error, "format_message"):  # Typer's errors of usage have no public class
            raise
        message = (
            error.format_message().replace("Value error, ", "").replace("Input should", "should")
        )
        warn(f"error: {message}" if sys.argv[1:] else message)
        return 2
    return status


def warn(line: object) -> None:
    print(printable(line), file=sys.stderr)
