"""Rows of a benchmark in a file of JSON lines, from which a benchmark that is started again goes on."""

import json
import pathlib
from collections.abc import Iterable

from fsjax.runtime import files, storage


def begun(file: pathlib.Path | None) -> list[dict]:
    """Return the rows of a file, none where there is no file; a last line that a kill has cut is removed."""
    if file is None or not file.exists():
        return []
    whole, _, cut = file.read_text().rpartition("\n")
    if cut:
        files.write_text(storage.path(file), f"{whole}\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def read(file: pathlib.Path) -> list[dict]:
    """Return the rows of a file that nobody writes."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def add(file: pathlib.Path | None, rows: Iterable[dict]) -> None:
    """Append rows to a file, all at once, or print them where there is no file."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if file is None:
        print(text, end="", flush=True)
        return
    with file.open("a") as out:
        out.write(text)
