"""Tables from declarations: every config field, for docs/configs.md, and every measure of grafts, for docs/files.md."""

import importlib
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from fsjax.evaluation.graft_results import MEASURES
from fsjax.runtime.config_fields import FIELDS

ROOT = pathlib.Path(__file__).parent.parent


def fields() -> str:
    """Return a Markdown table for each group of fields, including the fields of single experiments."""
    FIELDS.clear()  # the order of its rows must not depend on what was imported before
    for file in _experiments():
        importlib.import_module(f"configs.{file.stem}").get_config()  # builds its fields
    rows: dict[str, list[str]] = {}
    for name, field in FIELDS.items():
        row = f"| `{name}` | {_code(field.default)} | {_escaped(field.help)} |"
        rows.setdefault(name.rpartition(".")[0], []).append(row)
    head = ["| field | default | help |", "| --- | --- | --- |"]
    return "\n\n".join("\n".join([f"### {group or 'The run'}", "", *head, *lines]) for group, lines in rows.items())


def measures() -> str:
    """Return a Markdown table of what evaluation.json says of grafts."""
    rows = [f"| `{name}` | {_escaped(measure.help)} |" for name, measure in MEASURES.items()]
    return "\n".join(["| key | what |", "| --- | --- |", *rows])


def _experiments() -> list[pathlib.Path]:
    return [file for file in sorted((ROOT / "configs").glob("*.py")) if file.stem != "common"]


def _code(value: Any) -> str:
    return f"`{value!r}`".replace("|", r"\|")


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")
