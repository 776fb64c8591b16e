"""What a search method is to the rest of fsjax."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.fourier import masks
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.config_fields import Table
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem


def _accepts(options: ConfigDict, plane: tuple[int, int]) -> None:
    pass


def _as_they_are(scores: Float[np.ndarray, "classes height width"]) -> Float[np.ndarray, "classes height width"]:
    return scores


@dataclasses.dataclass(frozen=True)
class Method:
    """A search method, as its file offers it to the registry.

    Attributes:
      search: finds the maps; all processes call it alike and get the same maps.
      defaults: the method's own fields, which stand in config.search under its name: name -> (default, help).
      check: raises InputError for fields of config.search that cannot be used on a plane (H, W).
      patches: whether it uses config.search.patch.
      resamples: of the images, for the stability of the maps, where config.search.resamples leaves it to the method;
        None = it searches no images.
      scored: what its scores are, for a title.
      drawable: its scores as a figure shows them: signed, and NaN where nothing is to be seen.
      mask: (scores, share in (0, 1]) -> the mask that it makes of a class's scores.
      reads: config.search -> files from outside that its result rests on.
    """

    search: Callable[[Problem], DominantFrequencyMaps]
    defaults: Table = dataclasses.field(default_factory=dict)
    check: Callable[[ConfigDict, tuple[int, int]], None] = _accepts
    patches: bool = False
    resamples: int | None = 0
    scored: str = "Rise of the class's loss when a frequency is removed (nats)"
    drawable: Callable[[Float[np.ndarray, "classes height width"]], Float[np.ndarray, "classes height width"]] = (
        _as_they_are
    )
    mask: Callable[[Float[np.ndarray, "height width"], float], Bool[np.ndarray, "height width"]] = masks.within_share
    reads: Callable[[ConfigDict], list[Path]] = lambda options: []
