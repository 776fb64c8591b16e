"""`imported`: no search; evaluates the maps of another workdir, of a file, or of the published code on this model.

Maps found on one model are tried on another: --config.search.method=imported --config.search.imported.maps=B.
"""

import dataclasses

from ml_collections import ConfigDict

from fsjax.fourier import published_maps
from fsjax.fourier.dfm import COMPAT, WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.runtime import storage
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.search.method import Method, Problem

DEFAULTS: Table = {"maps": ("", "a workdir, one of its dfm/*.npz, or a published pickle")}


def search(problem: Problem) -> DominantFrequencyMaps:
    """Return the maps of search.imported.maps, at the shares that they have there.

    The provenance has, under `imported`, the file with its SHA-256, the method that made the maps and their provenance.
    """
    path, classes = problem.options.imported.maps, problem.classes
    maps = published_maps.read_maps(path, classes=classes, shares=tuple(problem.options.shares))
    got = f"search.imported.maps: got {path} with maps of"
    if maps.classes != classes and (maps.named or len(maps.classes) != len(classes)):
        theirs, ours = (f"{', '.join(names[:4])}, ... ({len(names)})" for names in (maps.classes, classes))
        raise InputError(f"{got} {theirs}; expected the model's classes, {ours}")
    if maps.masks.shape[2:] != problem.plane:
        theirs, ours = (" x ".join(map(str, plane)) for plane in (maps.masks.shape[2:], problem.plane))
        raise InputError(f"{got} {theirs}; expected {ours}, the size of the images")
    provenance = dict(maps.provenance)
    imported = {**provenance.pop("file"), "method": origin(maps), "provenance": provenance}
    # Masks at other shares are cut from the scores by the same rule as before the import.
    rule = {key: provenance[key] for key in (WHOLE_PATCHES, COMPAT) if key in provenance}
    return dataclasses.replace(
        maps,
        classes=classes,
        method=problem.options.method,
        forward_equivalents=0,
        provenance={**problem.provenance, **rule, "imported": imported},
    )


def origin(maps: DominantFrequencyMaps) -> str:
    """Return the name of the method that made the maps, before they were imported."""
    return maps.provenance.get("imported", {}).get("method", maps.method)


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    path = options.imported.maps
    if not path or not storage.path(path).exists():
        got = f"{path}, which does not exist" if path else "nothing"
        expected = "a workdir with maps, one of its dfm/*.npz, or a published pickle"
        raise InputError(f"search.imported.maps: got {got}; expected {expected}")


METHOD = Method(
    search,
    DEFAULTS,
    _check,
    scored="Scores, as they were imported",
    reads=lambda options: [published_maps.maps_file(options.imported.maps)],
)
