"""Every config field with its default and its comment, and every experiment's own text, read from the code."""

import ast
import functools
import io
import pathlib
import sys
import tokenize
from collections.abc import Collection
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from configs import common
from fsjax import search

ROOT = pathlib.Path(__file__).parent.parent


def fields() -> str:
    """A Markdown table for each group of fields, in the order of the code."""
    notes, parts = comments(), []
    order = {name: number for number, name in enumerate(notes)}
    for path, group in sorted(_groups("", common.base()), key=lambda pair: order.get(pair[0].split(".")[0], -1)):
        names = {f"{path}.{name}".lstrip("."): value for name, value in group.items()}
        ordered = sorted(names.items(), key=lambda pair: order.get(pair[0], 0))
        rows = [f"| `{name}` | {_code(value)} | {notes.get(name, '')} |" for name, value in ordered]
        head = ["| field | default | |", "| --- | --- | --- |"]
        about = [notes[path], ""] if notes.get(path) else []
        parts.append("\n".join([f"### {path or 'The run'}", "", *about, *head, *rows]))
    return "\n\n".join(parts)


def experiments() -> str:
    """The text at the top of each file of configs/."""
    parts = []
    for file in sorted((ROOT / "configs").glob("*.py")):
        if file.stem != "common":
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
            parts.append(f"### {file.stem}\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def comments() -> dict[str, str]:
    """Dotted name of a field, or of a group of fields, -> what its comment in the code says, if any; in code order."""
    groups = {name: name for name, value in common.base().items() if isinstance(value, ConfigDict)}
    found = _of_assignments(common, {"config": ""} | groups) | _of_assignments(search, {"shared": "search"})
    for name, method in search.SEARCHES.items():
        if method.defaults:
            found |= _of_entries(sys.modules[method.search.__module__], method.defaults, f"search.{name}")
    return found


def _groups(path: str, group: ConfigDict) -> list[tuple[str, dict[str, Any]]]:
    """A group's own fields, and those of the groups in it, by dotted name."""
    own = {name: value for name, value in group.items() if not isinstance(value, ConfigDict)}
    found = [(path, own)] if own else []
    for name, value in group.items():
        if isinstance(value, ConfigDict):
            found += _groups(f"{path}.{name}".lstrip("."), value)
    return found


def _code(value: Any) -> str:
    return f"`{value!r}`".replace("|", r"\|")


def _of_assignments(module: ModuleType, owners: dict[str, str]) -> dict[str, str]:
    """Comments of `owner.field = ...`: owners have the group that each name in the code stands for."""
    source, found = _source(module), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            owner, _, field = ast.unparse(node.targets[0]).rpartition(".")
            if owner in owners:
                found[f"{owners[owner]}.{field}".lstrip(".")] = _comment(source, node.lineno, node.end_lineno)
    return found


def _of_entries(module: ModuleType, keys: Collection[str], prefix: str) -> dict[str, str]:
    """Comments of the entries of the one dict that is written out in the module with these keys."""
    source = _source(module)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict) and [getattr(key, "value", None) for key in node.keys] == list(keys):
            lines = zip(keys, node.keys, node.values, strict=True)
            return {f"{prefix}.{name}": _comment(source, key.lineno, value.end_lineno) for name, key, value in lines}
    return {}


def _source(module: ModuleType) -> str:
    return pathlib.Path(module.__file__).read_text(encoding="utf-8")


def _comment(source: str, first: int, last: int) -> str:
    """The comment behind the lines first..last of a statement, or else the lines of comment above it."""
    lines = _comments(source)
    if last in lines and lines[last].behind:
        return lines[last].text
    above, line = [], first - 1
    while line in lines and not lines[line].behind:
        above.insert(0, lines[line].text)
        line -= 1
    return " ".join(above)


class _Comment(NamedTuple):
    text: str
    behind: bool  # something else on its line


@functools.cache
def _comments(source: str) -> dict[int, _Comment]:
    """By line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: _Comment(
            token.string.lstrip("# ").replace("|", r"\|").replace("<", "&lt;"),
            bool(token.line[: token.start[1]].strip()),
        )
        for token in tokens
        if token.type == tokenize.COMMENT
    }
