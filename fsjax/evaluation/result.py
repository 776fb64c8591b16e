"""What a run has found, read from its workdir."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool

from fsjax.evaluation import results
from fsjax.evaluation.evaluate import truth_of
from fsjax.fourier import dfm
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.files import read_json, read_npz
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Result:
    """The maps of one search method of a run, and what was measured of them.

    Attributes:
      directory: the workdir.
      method: name of the search.
      maps: which frequencies each class leans on.
      classes: display names in index order.
      evaluation: what evaluation.json says; of this method's maps under the method's name.
      config: every field of the run's config, nested.
      planted: True where a class has planted frequencies, on the centred plane, [classes, H, W]; None where none were
        planted.
    """

    directory: Path
    method: str
    maps: dfm.DominantFrequencyMaps
    classes: tuple[str, ...]
    evaluation: dict[str, Any]
    config: dict[str, Any]
    planted: Bool[np.ndarray, "classes height width"] | None


def load_result(workdir: str | Path, method: str | None = None) -> Result:
    """What a run of launch.py has found.

    >>> result = fsjax.load_result("runs/dfm_vit-synthetic")
    >>> figures.map_grid(result.maps.at(0.05), result.classes, 0.05).savefig("maps.pdf")

    Args:
      workdir: of the run, a local folder or a store's URL.
      method: name of the search; None = the only one whose maps are there.

    Raises:
      InputError: a ValueError: no maps, or of several methods, the stage evaluate has not run, or a damaged file.
    """
    directory = storage.path(workdir)
    method = _one_of(methods(directory), method, directory)
    maps = dfm.DominantFrequencyMaps.load(directory / "dfm" / f"{method}.npz")
    evaluation = results.of_method(directory / "evaluation.json", method)
    if tuple(evaluation["classes"]) != maps.classes:
        raise InputError(f"{directory}: evaluation.json is of other classes than dfm/{method}.npz; run evaluate again")
    planted = directory / "planted.npz"
    return Result(
        directory=directory,
        method=method,
        maps=maps,
        classes=maps.classes,
        evaluation=evaluation,
        config=_config(directory / "config.json"),
        planted=truth_of(read_npz(planted, ("fixed", "any"))) if planted.exists() else None,
    )


def methods(directory: Path) -> list[str]:
    """Names of the searches whose maps are in a workdir."""
    return sorted(file.stem for file in (directory / "dfm").glob("*.npz"))


def _one_of(found: list[str], method: str | None, directory: Path) -> str:
    there = ", ".join(found)
    if not found:
        raise InputError(f"workdir: {directory} holds no maps; expected a folder in which the stage search has run")
    if method is None and len(found) > 1:
        raise InputError(f"method: not said, and {directory} has maps of several; expected {there}")
    if method is not None and method not in found:
        raise InputError(f"method: {directory} has no maps of {method!r}; expected {there}")
    return method or found[0]


def _config(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise InputError(f"{file}: no such file; expected the workdir of a run")
    found = read_json(file)
    if not isinstance(found, dict):
        raise InputError(f"{file}: not the config of a run")
    return found
