"""Writes docs/parameters.md: `python docs/parameters.py`, or `make docs`.

Meanings are the comments of params.yaml, limits are those of k49/settings.py, and which stage reads
a parameter stands in dvc.yaml.
"""

import json
import re
from pathlib import Path
from typing import Any

from k49.io import read_yaml, write_text
from k49.settings import Settings

ROOT = Path(__file__).parents[1]
ORDER = list(read_yaml(ROOT / "dvc.yaml")["stages"]).index
HEAD = """# Parameters

Made by `make docs` from [params.yaml](../params.yaml) and its comments, the limits in
[k49/settings.py](../k49/settings.py), and the stages in [dvc.yaml](../dvc.yaml).

`dvc exp run -S train.epochs=30` changes a parameter for one experiment and for those after it.
Stage `check` reads all of them: it refuses an unknown key, a wrong type or a value out of range in
one line, before any other stage runs, and it names parameters that have no effect next to the
others. A recipe (`k49 recipe cnn`) sets all sections but `data`, `standin`, `split` and `gate`.
"""


def page(path_of_params: Path = ROOT / "params.yaml") -> str:
    """The whole page."""
    params, schema = read_yaml(path_of_params), Settings.model_json_schema()
    about, read_by, parts = comments(path_of_params), readers(), [HEAD]
    for section, content in params.items():
        path, name, fields = section, section, schema["properties"][section]
        if section == "spaces":  # all of them have the same keys: the first stands for them
            space, content = next(iter(content.items()))
            path, name, fields = f"spaces.{space}", "spaces.*name*", fields["additionalProperties"]
        described = about.get(section, "")
        parts.append(f"## {name}{described and ': ' + described}\n")
        parts.append("| key | value | allowed | meaning | read by |\n|---|---|---|---|---|")
        for key, value in content.items():
            allowed = limits(resolved(fields, schema)["properties"][key], schema)
            stages = {*read_by.get(section, []), *read_by.get(f"{section}.{key}", [])}
            by = ", ".join(sorted(stages, key=ORDER)) or "-"
            cells = (f"`{key}`", shown(value), allowed, about.get(f"{path}.{key}", ""), by)
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def comments(params: Path) -> dict[str, str]:
    """What params.yaml says of each dotted key: in the lines above it, and behind it.

    A line above that begins with the name of another key and a comma is about that one.
    """
    found: dict[str, str] = {}
    above: list[str] = []
    path: list[str] = []
    for line in params.read_text("utf-8").splitlines():
        if match := re.match(r"( *)([\w]+):[^#]*(?:# (.*))?$", line):
            indent, key, behind = match.groups()
            path = [*path[: len(indent) // 2], key]
            for text in above:
                name, _, rest = text.partition(", ")
                of_another = rest and name.isidentifier()
                dotted = ".".join([*path[:-1], name if of_another else key])
                found[dotted] = f"{found.get(dotted, '')} {rest if of_another else text}".strip()
            dotted = ".".join(path)
            found[dotted] = "; ".join(filter(None, [found.get(dotted), behind]))
        above = [*above, line.strip("# ")] if line.lstrip().startswith("#") else []
    return found


def readers() -> dict[str, list[str]]:
    """The stages that name a parameter, or its section, in dvc.yaml; `check` reads all."""
    found: dict[str, list[str]] = {}
    for stage, content in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        for key in content.get("params", []):
            if isinstance(key, str):
                key = "spaces" if key.startswith("spaces") else key
                found.setdefault(key, []).append(stage)
    return found


def limits(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a field of the settings' JSON schema allows."""
    field = resolved(field, schema)
    if "anyOf" in field:
        return " or ".join(limits(each, schema) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if field["type"] == "array":
        return f"list of {limits(field['items'], schema)}"
    if field["type"] == "object":
        inner = {key: limits(each, schema) for key, each in field["properties"].items()}
        return "; ".join(f"{key}: {each}" for key, each in inner.items())
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[name]:,}" for name, sign in signs.items() if name in field]
    names = {"integer": "whole number", "string": "text", "boolean": "true, false", "null": "empty"}
    return " ".join([names.get(field["type"], field["type"]), ", ".join(bounds)]).strip()


def resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A field, or what it refers to."""
    return schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def shown(value: Any) -> str:
    """A value as params.yaml has it."""
    return "empty" if value is None else f"`{json.dumps(value).strip(chr(34))}`"


if __name__ == "__main__":
    write_text(ROOT / "docs/parameters.md", page())
