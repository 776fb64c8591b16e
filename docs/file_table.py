"""Every file of fsjax/ with the first line of its own text."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / "fsjax"


def files() -> str:
    """Return a Markdown table for the files at the top, and one for each package."""
    folders = [PACKAGE, *sorted(file.parent for file in PACKAGE.rglob("*/__init__.py"))]
    return "\n\n".join(_table(folder) for folder in folders)


def _table(folder: pathlib.Path) -> str:
    name = folder.relative_to(PACKAGE.parent).as_posix()
    rows = [f"| `{name}/{file.name}` | {_first_line(file)} |" for file in sorted(folder.glob("*.py"))]
    return "\n".join([f"### {name}/", "", "| file | |", "| --- | --- |", *rows])


def _first_line(file: pathlib.Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("|", r"\|")
