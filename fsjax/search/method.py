"""What a search method is to the rest of fsjax."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.fourier import masks
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.config_fields import Table
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem

Planes: TypeAlias = Float[np.ndarray, "classes height width"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A search method, as its file offers it to the registry.

    Attributes:
      search: returns the maps. Collective: every process calls it, and all get the same maps.
      defaults: the method's own fields of config.search, under its name: name -> (default, help).
      check: raises InputError for fields of config.search that cannot be used on a plane (H, W).
      patches: whether it uses config.search.patch.
      whole_patches: whether its maps are unions of whole patches of that side.
      resamples: bootstrap resamples where config.search.resamples is -1; None = the method searches no images.
      scored: what its scores are, for a title.
      drawable: scores -> what a figure shows: signed, and NaN where it is blank.
      mask: (scores of a class, share in (0, 1]) -> its mask; of single orbits, where the maps keep whole patches.
      reads: config.search -> files from outside that its result depends on.
    """

    search: Callable[[Problem], DominantFrequencyMaps]
    defaults: Table = dataclasses.field(default_factory=dict)
    check: Callable[[ConfigDict, tuple[int, int]], None] = lambda options, plane: None
    patches: bool = False
    whole_patches: bool = False
    resamples: int | None = 0
    scored: str = "Rise of the class's loss when a frequency is removed (nats)"
    drawable: Callable[[Planes], Planes] = lambda scores: scores
    mask: Callable[[Float[np.ndarray, "height width"], float], Bool[np.ndarray, "height width"]] = masks.within_share
    reads: Callable[[ConfigDict], list[Path]] = lambda options: []
