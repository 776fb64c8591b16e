"""evaluation.json: read, and checked once to be what the stage evaluate writes."""

from fsjax.evaluation.results import Evaluation
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def read(file: Path) -> Evaluation | None:
    """Read evaluation.json; None where there is none.

    Raises:
      InputError: it is damaged, or not what the stage evaluate writes.
    """
    if not file.exists():
        return None
    content = files.read_json(file)
    try:
        return Evaluation.from_json(content)
    except InputError as error:
        raise InputError(f"{file}: {error}; delete it and run the stage evaluate again") from error


def read_method(file: Path, method: str) -> Evaluation:
    """Read evaluation.json, which has to have results of a search method.

    Raises:
      InputError: as `read`, or there are none.
    """
    evaluation = read(file)
    if evaluation is None or method not in evaluation.methods:
        raise InputError(f"{file}: no results of {method}; run the stage evaluate first")
    return evaluation
