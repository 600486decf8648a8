"""What was read in images, as a table, JSON or CSV: a row for each image and candidate."""

import csv
import io
import json

from rich.table import Table

from k49.shown import in_terminal


def candidate_rows(names: list[str], candidates: list[list[dict]]) -> list[dict]:
    """Return a row for each candidate of each image: image, rank (from 1), and its own keys."""
    return [
        {"image": name, "rank": rank, **candidate}
        for name, of_image in zip(names, candidates, strict=True)
        for rank, candidate in enumerate(of_image, start=1)
    ]


def as_table(rows: list[dict]) -> Table:
    """Return a table for Rich to print; a picture's name stands in its first row only."""
    table = Table("image", "character", "code point", "probability", "", box=None)
    for row in rows:
        first = row["rank"] == 1
        probability = f"{row['probability']:.4f}"
        table.add_row(
            in_terminal(row["image"] if first else ""),
            in_terminal(row["character"]),
            row["code_point"],
            probability,
            doubt(row) if first else "",
        )
    return table


def doubt(row: dict) -> str:
    """Say what is doubtful about an image, if anything."""
    if row["outlier"]:
        return "unlike the training images: is it one such character?"
    return "uncertain" if row["uncertain"] else ""


def as_json(rows: list[dict]) -> str:
    """Return a JSON list."""
    return json.dumps(rows, ensure_ascii=False, indent=1)


def as_csv(rows: list[dict]) -> str:
    """Return CSV with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
