"""A first look: the preset of `quick=True` and `--quick`."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsjax.fourier import patches
from fsjax.search import DEFAULT, patch_maps

_SHARE = 0.05


def _patch(config: ConfigDict, plane: tuple[int, int]) -> int:
    return patch_maps.side_for(plane, 32 if config.search.method == "graft" else 16)


def _images(config: ConfigDict, plane: tuple[int, int]) -> int:
    return config.search.images_per_class if config.search.method == "graft" else 20


def _shares(config: ConfigDict, plane: tuple[int, int]) -> tuple[float, ...]:
    """Return a share with room for a patch of config.search."""
    positions = plane[0] * plane[1]
    return (max(_SHARE, float(np.ceil(1e4 * patches.largest(*plane, config.search.patch) / positions) / 1e4)),)


def _nearest_share(config: ConfigDict, plane: tuple[int, int]) -> float:
    return min(config.search.shares, key=lambda share: abs(share - config.report.share))


# Field -> its value, or a function of the config so far and the plane, and the reason.
PRESET: dict[str, tuple[Any | Callable[[ConfigDict, tuple[int, int]], Any], str]] = {
    "search.method": (DEFAULT, "its cost depends neither on the number of images nor on the plane"),
    "search.graft.steps": (4, "gradients of a class: paths x steps; fewer paths miss cues whose phase decides"),
    "search.images_per_class": (_images, "graft costs the same for any number; removal takes a pass an image"),
    "search.resamples": (0, "a map of so little work is not said to be stable"),
    "search.patch": (_patch, "graft scores any number of patches at once; removal has a mask for each"),
    "search.shares": (_shares, "a single share, with room for a patch"),
    "report.share": (_nearest_share, "the share that the maps have"),
    "evaluate.pairs": (50, "enough for a verdict where psi is above 0.75 or below 0.35"),
    "evaluate.trigger_size": (0, "triggers take 30,000 passes or more"),
    "evaluate.images_per_class": (40, "rates of a class within 0.15"),
    "evaluate.grid": ((), "rates at further shares decide nothing"),
    "report.attributions": (0, "150 forward passes an image"),
}


def apply(config: ConfigDict, plane: tuple[int, int], given: Collection[str], full: str) -> None:
    """Set the fields of PRESET that are not `given` (dotted names); `full` is the call for the full answer."""
    for field, (value, _) in PRESET.items():
        if field not in given:
            config.update_from_flattened_dict({field: value(config, plane) if callable(value) else value})
    config.report.first_look = full
