"""Measured rows: stored in the workdir, shown as a table, and compared with aims."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.cost.accelerator_parts.settings import Sizes
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
    "ratio": "over plain, or over the step",
    "tile_ratio": "tiles over plain",
    "share_of_peak": "of peak",
    "peak_mib": "peak MiB",
    "temporary_mib": "temporary MiB",
    "spearman": "Spearman",
    "worst_spearman": "worst",
    "top_iou": "top-5 % IoU",
    "worst_top_iou": "worst",
    "loss_difference_from_cpu": "from CPU",
}
_MODEL, _LARGE = Sizes().model, Sizes().large_models.split(",")


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
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS)]
    lines += [[_cell(row.get(name)) for name in COLUMNS] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Aim(NamedTuple):
    """An aim: its text, the rows that it concerns, a field of these rows, and the field's limit."""

    text: str
    concerns: Callable[[Row], bool]
    field: str
    limit: float
    at_most: bool = False

    def line(self, rows: list[Row]) -> str:
        """Return the aim, whether the worst row meets it, and that row's value."""
        measured = [row for row in rows if row.get(self.field) is not None and self.concerns(row)]
        if not measured:
            return f"{self.text}: not measured"
        worst = (max if self.at_most else min)(measured, key=lambda row: row[self.field])
        value = worst[self.field]
        met = value <= self.limit if self.at_most else value >= self.limit
        estimate = self.field == "seconds_for_cifar10" and worst["seconds_for_cifar10_are"] != "measured"
        return f"{self.text}: {'met' if met else 'missed'}, {value:.4g}{' (an estimate)' if estimate else ''}"


def aim_lines(rows: list[Row]) -> list[str]:
    """Return a line for each aim."""
    return [aim.line(rows) for aim in AIMS]


def _concerns(part: str, **fields: Any) -> Callable[[Row], bool]:
    """Return whether a row is of a part and has these fields; of parts `train` and `search` the default model's."""
    model = {} if part == "large" else {"model": _MODEL}
    return lambda row: {"part": part, **model, **fields}.items() <= row.items()


def _is_large(row: Row) -> bool:
    return _concerns("large", image_size=224)(row) and row["model"] in _LARGE


_REMOVAL = {"method": "removal", "image_size": 32}
AIMS = (
    Aim(
        "accuracy of a ResNet-18 trained on CIFAR-10, at least .94",
        _concerns("train", images_from="folder"),
        "accuracy",
        0.94,
    ),
    Aim("training over the step on resident data, at least .95", _concerns("train"), "ratio", 0.95),
    *(
        Aim(
            f"exact removal of 514 orbits x 10,000 images in {precision}, with compilation, at most {seconds} s",
            _concerns("search", **_REMOVAL, precision=precision),
            "seconds_for_cifar10",
            seconds,
            at_most=True,
        )
        for precision, seconds in (("tensorfloat32", 60), ("highest", 150))
    ),
    *(
        Aim(
            f"exact removal over plain passes in {precision}, at least .9",
            _concerns("search", **_REMOVAL, precision=precision),
            "ratio",
            0.9,
        )
        for precision in ("tensorfloat32", "highest")
    ),
    Aim(
        "masked tiles over plain passes, at 32 pixels, at least .95",
        _concerns("search", **_REMOVAL),
        "tile_ratio",
        0.95,
    ),
    Aim("masked tiles over plain passes, at 224 pixels, at least .95", _is_large, "ratio", 0.95),
    *(
        Aim(
            f"{method} search of ten classes, with compilation, at most 20 s",
            _concerns("search", method=method, image_size=32, classes=10),
            "seconds",
            20,
            at_most=True,
        )
        for method in ("learned", "graft")
    ),
)
