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
    table = Table("image", "character", "code point", "probability", box=None)
    for row in rows:
        name = row["image"] if row["rank"] == 1 else ""
        probability = f"{row['probability']:.4f}"
        table.add_row(
            in_terminal(name), in_terminal(row["character"]), row["code_point"], probability
        )
    return table


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
