"""Measured rows: printed as they come, and kept in the workdir so that a later part completes the table."""

import json
import pathlib
from typing import Any

from fsjax.runtime import files

# A new row replaces one that agrees in these.
_KEY = ("part", "devices", "model", "image_size", "images_from", "method", "precision")


class Rows:
    """The rows of a workdir, in rows.json.

    Args:
      directory: the workdir.
      devices: those that are measured; rows of others stay in the file and are not listed.
    """

    def __init__(self, directory: pathlib.Path, devices: str):
        self._file, self._devices = directory / "rows.json", devices
        self._rows: list[dict[str, Any]] = files.read_json(self._file) if self._file.exists() else []

    def add(self, part: str, row: dict[str, Any]) -> None:
        """Print a row and keep it, in place of an earlier one of the same measurement."""
        row = {"part": part, "devices": self._devices, **{name: _rounded(value) for name, value in row.items()}}
        print(json.dumps(row), flush=True)
        key = [row.get(name) for name in _KEY]
        self._rows = [other for other in self._rows if [other.get(name) for name in _KEY] != key] + [row]
        files.write_json(self._file, self._rows)

    def listed(self) -> list[dict[str, Any]]:
        """Return the rows of these devices."""
        return [row for row in self._rows if row["devices"] == self._devices]


def _rounded(value: Any) -> Any:
    """Round a float to five significant digits; those of a list too."""
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
