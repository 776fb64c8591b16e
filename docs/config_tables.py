"""Write every config field with its default and help into docs/configs.md.

python docs/config_tables.py
"""

import importlib
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from fsjax.runtime.config_fields import FIELDS

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configs.md"


def filled(page: str) -> str:
    """Return the text of docs/configs.md with the table of fields between its markers."""
    begin, end = "<!-- fields -->", "<!-- end of fields -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{fields()}\n\n{end}{rest.partition(end)[2]}"


def fields() -> str:
    """Return a Markdown table for each group of fields, those that a single experiment has included."""
    FIELDS.clear()  # the order of its rows must not depend on what was imported before
    for file in _experiments():
        importlib.import_module(f"configs.{file.stem}").get_config()  # builds its fields
    rows: dict[str, list[str]] = {}
    for name, field in FIELDS.items():
        row = f"| `{name}` | {_code(field.default)} | {_escaped(field.help)} |"
        rows.setdefault(name.rpartition(".")[0], []).append(row)
    head = ["| field | default | help |", "| --- | --- | --- |"]
    return "\n\n".join("\n".join([f"### {group or 'The run'}", "", *head, *lines]) for group, lines in rows.items())


def _experiments() -> list[pathlib.Path]:
    return [file for file in sorted((ROOT / "configs").glob("*.py")) if file.stem != "common"]


def _code(value: Any) -> str:
    return f"`{value!r}`".replace("|", r"\|")


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
