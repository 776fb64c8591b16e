"""The aims of the accelerator benchmark, and whether rows meet them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from benchmarks.cost.accelerator_parts.settings import Sizes

Row = dict[str, Any]
_MODEL, _LARGE = Sizes().model, Sizes().large_models.split(",")


@dataclasses.dataclass(frozen=True)
class Aim:
    """An aim: what it is about, the rows that tell of it, the value of one, and the limit.

    Attributes:
      text: the aim, for people.
      concerns: whether a row tells of it.
      value: name of the row's field.
      limit: the least value, or the most where `at_most`.
      at_most: whether smaller is better.
    """

    text: str
    concerns: Callable[[Row], bool]
    value: str
    limit: float
    at_most: bool = False

    def line(self, rows: list[Row]) -> str:
        """Return the aim, whether the worst row meets it, and that row's value."""
        told = [row for row in rows if row.get(self.value) is not None and self.concerns(row)]
        if not told:
            return f"{self.text}: not measured"
        worst = (max if self.at_most else min)(told, key=lambda row: row[self.value])
        value = worst[self.value]
        met = value <= self.limit if self.at_most else value >= self.limit
        estimate = self.value == "seconds_for_cifar10" and worst["seconds_for_cifar10_are"] != "measured"
        return f"{self.text}: {'met' if met else 'missed'}, {value:.4g}{' (an estimate)' if estimate else ''}"


def lines(rows: list[Row]) -> list[str]:
    """Return a line for each aim."""
    return [aim.line(rows) for aim in AIMS]


def _is_search(method: str, precision: str = "") -> Callable[[Row], bool]:
    def concerns(row: Row) -> bool:
        of_method = row["part"] == "search" and row["method"] == method and row["model"] == _MODEL
        return of_method and (precision in ("", row["precision"])) and row["image_size"] == 32

    return concerns


def _is_search_of_ten(method: str) -> Callable[[Row], bool]:
    is_search = _is_search(method)
    return lambda row: is_search(row) and row["classes"] == 10


def _is_training(row: Row) -> bool:
    return row["part"] == "train" and row["model"] == _MODEL


AIMS = (
    Aim(
        "accuracy of a ResNet-18 trained on CIFAR-10, at least .94",
        lambda row: _is_training(row) and row["images_from"] == "folder",
        "accuracy",
        0.94,
    ),
    Aim("training over the step on resident data, at least .95", _is_training, "ratio", 0.95),
    *(
        Aim(
            f"exact removal of 514 orbits x 10,000 images in {precision}, with compilation, at most {seconds} s",
            _is_search("removal", precision),
            "seconds_for_cifar10",
            seconds,
            at_most=True,
        )
        for precision, seconds in (("tensorfloat32", 60), ("highest", 150))
    ),
    *(
        Aim(
            f"exact removal over plain passes in {precision}, at least .9",
            _is_search("removal", precision),
            "ratio",
            0.9,
        )
        for precision in ("tensorfloat32", "highest")
    ),
    Aim("masked tiles over plain passes, at 32 pixels, at least .95", _is_search("removal"), "tile_ratio", 0.95),
    Aim(
        "masked tiles over plain passes, at 224 pixels, at least .95",
        lambda row: row["part"] == "large" and row["model"] in _LARGE and row["image_size"] == 224,
        "ratio",
        0.95,
    ),
    *(
        Aim(
            f"{method} search of ten classes, with compilation, at most 20 s",
            _is_search_of_ten(method),
            "seconds",
            20,
            at_most=True,
        )
        for method in ("learned", "graft")
    ),
)
