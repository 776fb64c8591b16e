"""Measured rows: stored in the workdir and shown as a table."""

import json
import pathlib
from typing import Any

from benchmarks.common.markdown import table
from fsjax.runtime import files

Row = dict[str, Any]

# A new row replaces a row that has the same values here.
_KEY = ("part", "devices", "model", "image_size", "images_from", "method", "precision")
# Field of a row -> title of its column.
COLUMNS = {
    "part": "part",
    "method": "method",
    "model": "model",
    "image_size": "pixels",
    "precision": "precision",
    "images": "images",
    "seconds": "s",
    "compile_seconds": "s to compile",
    "seconds_for_cifar10": "s for CIFAR-10",
    "seconds_for_cifar10_are": "these are",
    "accuracy": "accuracy",
    "images_per_second": "images/s",
    "share_of_peak": "of peak",
    "peak_mib": "peak MiB",
    "spearman": "Spearman",
    "worst_spearman": "worst",
    "top_iou": "top-5 % IoU",
    "worst_top_iou": "worst",
    "loss_difference_from_cpu": "from CPU",
}


class Rows:
    """The rows of a workdir, in rows.json.

    Args:
      directory: the workdir.
      devices: the measured devices; rows of other devices stay in the file and are not listed.
    """

    def __init__(self, directory: pathlib.Path, devices: str):
        self._file, self._devices = directory / "rows.json", devices
        self._rows: list[Row] = files.read_json(self._file) if self._file.exists() else []

    def add(self, part: str, row: Row) -> None:
        """Print and store a row, in place of an earlier row of the same measurement."""
        row = {"part": part, "devices": self._devices, **{name: _rounded(value) for name, value in row.items()}}
        print(json.dumps(row), flush=True)
        key = [row.get(name) for name in _KEY]
        self._rows = [other for other in self._rows if [other.get(name) for name in _KEY] != key] + [row]
        files.write_json(self._file, self._rows)

    def listed(self) -> list[Row]:
        """Return the rows of these devices."""
        return [row for row in self._rows if row["devices"] == self._devices]


def _rounded(value: Any) -> Any:
    """Round floats, also in a list, to five significant digits."""
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table; a missing value is an empty cell."""
    return table(list(COLUMNS.values()), ([_cell(row.get(name)) for name in COLUMNS] for row in rows))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
