"""evaluation.json: read, and checked once to be what the stage evaluate writes."""

from fsjax.evaluation.results import Evaluation
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def read(file: Path) -> Evaluation | None:
    """Read evaluation.json, None where there is none; raises InputError as `Evaluation.read`."""
    return Evaluation.read(file) if file.exists() else None


def read_method(file: Path, method: str) -> Evaluation:
    """Read evaluation.json; raises InputError as `read`, and where it has no results of a search method."""
    evaluation = read(file)
    if evaluation is None or method not in evaluation.methods:
        raise InputError(f"{file}: no results of {method}; run the stage evaluate first")
    return evaluation
