"""Searches for dominant frequency maps: a method is one file and one line of SEARCHES."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from fsjax.engine.model import PRECISIONS
from fsjax.fourier import dfm
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.transforms import INVERSES
from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError, check_known, expect, nearest
from fsjax.search import graft, greedy, hierarchical, imported, learned, patch_maps, removal
from fsjax.search.method import MaskRule, Method, Problem

logger = logging.getLogger(__name__)

SEARCHES = {
    "removal": removal.METHOD,
    "graft": graft.METHOD,
    "greedy": greedy.METHOD,
    "hierarchical": hierarchical.METHOD,
    "learned": learned.METHOD,
    "imported": imported.METHOD,
}
# The search for a model of one's own, whose cost does not grow with the images and the plane.
DEFAULT = "graft"

FIELDS: config_fields.Table = {
    "method": ("removal", ", ".join(SEARCHES)),
    "patch": (1, "side of the squares of frequencies that are scored as a whole, for removal and graft", "[1, inf)"),
    "shares": ((0.01, 0.05, 0.1, 0.2), "shares of the plane that the maps keep", "(0, 1]"),
    "split": ("train", "images that are searched: train, or test as published"),
    "images_per_class": (100, "0 = all"),
    "resamples": (
        -1,
        "bootstrap resamples of a class's images, which show how strongly its map depends on the searched images, at "
        "no extra cost; -1 = 20 for removal and graft; the other methods have none",
        "[-1, inf)",
    ),
    "precision": (
        "highest",
        "of search and evaluation: highest (float32), tensorfloat32, bfloat16; with the latter two the evaluation says "
        "how many filtered images have the same prediction in highest",
    ),
    "transform": ("auto", "how filtered images are made: fft, or dft (matrix products); auto = dft on TPUs, else fft"),
    **{name: method.defaults for name, method in SEARCHES.items() if method.defaults},
}


def options(method: str = "removal", **fields: Any) -> ConfigDict:
    """Return config.search of a method: the defaults, changed by shared fields and the method's own, by their names.

    Raises:
      InputError: an unknown method or field, or a value of another type.
    """
    check_known("search", method, sorted(SEARCHES))
    values = config_fields.config(FIELDS, "search")
    values.method = method
    own = values.get(method, ConfigDict())
    for name, value in fields.items():
        group = own if name in own else values
        if name not in group or name in SEARCHES:
            names = [*sorted(own), *(shared for shared in FIELDS if shared not in (*SEARCHES, "method", "split"))]
            near = f" (did you mean {found}?)" if (found := nearest(name, names)) else ""
            raise InputError(f"{name}: got a field that {method!r} lacks; expected {', '.join(names)}{near}")
        config_fields.update(group, {name: value})
    return values


def default_method(counts: Sequence[int]) -> str:
    """Return graft where it serves for these numbers of searched images of the classes, or else removal."""
    if len(counts) > 1 and min(counts) > 1:
        return DEFAULT
    logger.warning("search: removal, as graft needs two or more classes of two or more images")
    return "removal"


def run(problem: Problem) -> DominantFrequencyMaps:
    """Return the maps by the method that config.search names. Collective: every process must call this.

    Raises InputError for partial results of another search, too little memory, a loss or gradient that is not finite,
    or a problem that the method cannot search; interrupt.Terminated after SIGTERM, when finished work is stored.
    """
    method, options = selected(problem.options), problem.options
    for sentence in patch_maps.few(options.shares, problem.plane, options.patch) if method.whole_patches else ():
        logger.warning("search: %s", sentence)
    return method.search(problem)


def selected(options: ConfigDict) -> Method:
    """Return the method of config.search, or its published variant where the options select that."""
    method = SEARCHES[options.method]
    return method.compat if method.compat and options[options.method].compat else method


def forward_passes(options: ConfigDict, counts: Sequence[int], plane: tuple[int, int]) -> int:
    """Return the forward passes of a search on a split with these images of each class."""
    images = tuple(min(count, options.images_per_class or count) for count in counts)
    return selected(options).forward_passes(options, images, plane)


def used(field: str, method: str) -> bool:
    """Return whether a method's result depends on this field of config.search."""
    name = field.partition(".")[0]
    if name == "patch":
        return SEARCHES[method].patches
    return name == method or name not in SEARCHES


def method_for_maps(maps: DominantFrequencyMaps) -> Method:
    """Return the method that made the maps, before they were imported."""
    method = SEARCHES.get(imported.origin(maps), imported.METHOD)
    return method.compat if method.compat and maps.provenance.get(dfm.COMPAT) else method


def mask_rule(maps: DominantFrequencyMaps) -> MaskRule:
    """Return the rule that makes masks from the maps' scores: (scores of a class, share in (0, 1]) -> its mask."""
    if (patch := maps.provenance.get(dfm.WHOLE_PATCHES, 1)) > 1:
        return patch_maps.rule(patch)
    return method_for_maps(maps).mask


def mask_at(maps: DominantFrequencyMaps, label: int, share: float) -> Bool[np.ndarray, "height width"]:
    """Return a class's map at a share: its own, or cut from the scores, without scores the one at the nearest share."""
    if maps.scores is None or share in maps.shares:
        return maps.at(maps.nearest(share))[label]
    return mask_rule(maps)(np.asarray(maps.scores[label]), share)


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raise InputError for a field of config.search that cannot be used on this plane."""
    config_fields.check(options, "search.")
    check_known("search.method", options.method, sorted(SEARCHES))
    for name, accepted in (("split", ("train", "test")), ("precision", PRECISIONS), ("transform", ("auto", *INVERSES))):
        check_known(f"search.{name}", options[name], accepted)
    method = selected(options)
    can_resample = options.resamples <= 0 or method.whole_patches
    expect(can_resample, "search.resamples", options.resamples, "0 or -1, as only removal and graft resample")
    check_shares(options.shares)
    if method.patches and options.patch not in patch_maps.sides(plane):
        size, sides = " x ".join(map(str, plane)), ", ".join(map(str, patch_maps.sides(plane)))
        raise InputError(f"search.patch: got {options.patch}; expected a divisor of the image size {size}: {sides}")
    if method.whole_patches:
        patch_maps.check(options, plane)
    method.check(options, plane)


def check_shares(shares: tuple) -> None:
    """Raise InputError where config.search names no share."""
    if not shares:
        raise InputError("search.shares: got nothing; expected one or more numbers in (0, 1]")
