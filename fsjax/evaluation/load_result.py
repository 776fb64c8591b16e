"""Results of a run, read from its workdir."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool

from fsjax.evaluation import evaluation_file, planted
from fsjax.evaluation.results import Evaluation, MapRates
from fsjax.fourier import dfm
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.files import read_json, read_npz
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """The maps of one search method of a run, and what was measured of them.

    Attributes:
      directory: the workdir; None where the results are of a call from Python.
      method: name of the search.
      maps: dominant frequency maps of each class.
      classes: display names in index order.
      evaluation: the content of evaluation.json; of this method's maps under `evaluation.methods[method]`.
      config: every field of the run's config, nested.
      planted: True where a class has planted frequencies, on the centred plane, [classes, H, W]; None where none were
        planted.

    Examples:
      >>> isinstance(fsjax.load_result("saved"), MethodResult)  # `Result` adds verdicts, figures and the page
      True
    """

    directory: Path | None
    method: str
    maps: dfm.DominantFrequencyMaps
    classes: tuple[str, ...]
    evaluation: Evaluation
    config: dict[str, Any]
    planted: Bool[np.ndarray, "classes height width"] | None

    def rates(self, share: float) -> MapRates:
        """Return the rates under this method's maps at one of their shares."""
        return self.evaluation.methods[self.method].at(share)


def read_result(workdir: str | Path, method: str | None = None) -> MethodResult:
    """Read the results of a workdir.

    Args:
      workdir: of a run, a local folder or a store's URL.
      method: name of the search; None = the only one that has maps there.

    Raises:
      InputError: a ValueError: no maps, or of several methods, the stage evaluate has not run, or a damaged file.
    """
    directory = storage.path(workdir)
    method = _choose(methods(directory), method, directory)
    maps = dfm.DominantFrequencyMaps.load(dfm.file_in(directory, method))
    evaluation = evaluation_file.read_method(directory / "evaluation.json", method)
    if evaluation.classes != maps.classes:
        raise InputError(f"{directory}: evaluation.json has other classes than dfm/{method}.npz; run evaluate again")
    truth = directory / "planted.npz"
    return MethodResult(
        directory=directory,
        method=method,
        maps=maps,
        classes=maps.classes,
        evaluation=evaluation,
        config=_config(directory / "config.json"),
        planted=planted.positions(read_npz(truth, ("fixed", "any"))) if truth.exists() else None,
    )


def methods(directory: Path) -> list[str]:
    """Return the names of the searches that have maps in a workdir."""
    return [file.stem for file in dfm.files_in(directory)]


def _choose(available: list[str], method: str | None, directory: Path) -> str:
    if not available:
        raise InputError(f"workdir: got {directory}, which has no maps; expected a folder where the stage search ran")
    if method not in available and (method is not None or len(available) > 1):
        got = "nothing" if method is None else repr(method)
        raise InputError(f"method: got {got}; expected one of {', '.join(available)}, which have maps in {directory}")
    return method or available[0]


def _config(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise InputError(f"{file}: no such file; expected the workdir of a run")
    config = read_json(file)
    if not isinstance(config, dict):
        raise InputError(f"{file}: got {type(config).__name__}; expected the config of a run")
    return config
