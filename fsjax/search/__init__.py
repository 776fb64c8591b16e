"""Searches for dominant frequency maps: a method is one file and one line of SEARCHES."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, PyTree
from ml_collections import ConfigDict

from fsjax.errors import InputError
from fsjax.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a search is given.

    Attributes:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: of the classifier.
      images: class index -> that class's images, normalised.
      counts: images of each class.
      classes: display names in index order.
      plane: (H, W).
      options: config.search.
      run: config.run.
      about: split and provenance for the maps.
      directory: where partial results are kept.
      metrics: where rates are written.
    """

    apply: Callable
    params: PyTree
    images: Callable[[int], Float[np.ndarray, "images height width channels"]]
    counts: tuple[int, ...]
    classes: tuple[str, ...]
    plane: tuple[int, int]
    options: ConfigDict
    run: ConfigDict
    about: dict
    directory: pathlib.Path
    metrics: Metrics


from fsjax.search import removal  # noqa: E402 (a method needs Problem)

SEARCHES = {"removal": removal.search}


def check(config: ConfigDict) -> None:
    """Raises InputError for a search field that cannot be used."""
    options, size = config.search, config.data.image_size
    if options.method not in SEARCHES:
        raise InputError(f"search.method: unknown method {options.method!r}; accepted: {', '.join(sorted(SEARCHES))}")
    if options.split not in ("train", "test"):
        raise InputError(f"search.split: {options.split!r} is unknown; accepted: train, test")
    if options.images_per_class < 0:
        raise InputError(f"search.images_per_class: {options.images_per_class}; accepted: 0 (all) or more")
    if not options.shares:
        raise InputError("search.shares: empty; accepted: one or more numbers in (0, 1]")
    for share in options.shares:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(f"search.shares: {share!r} is not a share of the plane; accepted: numbers in (0, 1]")
    if options.patch < 1 or size % options.patch:
        divisors = [str(side) for side in range(1, size + 1) if size % side == 0]
        raise InputError(
            f"search.patch: {options.patch} does not divide the image size {size}; accepted: {', '.join(divisors)}"
        )
