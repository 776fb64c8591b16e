"""evaluation.json as it is read: seen once to be what the stage evaluate writes, then trusted."""

from typing import Any

from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# No count of images is larger; NumPy would take a larger one for an object.
_MOST = 2**53


def read(file: Path) -> dict[str, Any]:
    """What evaluation.json says; empty where there is none.

    Raises:
      InputError: it is damaged, or not what the stage evaluate writes.
    """
    if not file.exists():
        return {}
    found = files.read_json(file)
    if not (isinstance(found, dict) and _is_evaluation(found)):
        raise InputError(f"{file}: not what the stage evaluate writes; delete it to have it written anew")
    return found


def of_method(file: Path, method: str) -> dict[str, Any]:
    """What evaluation.json says, that of a search method's maps among it.

    Raises:
      InputError: as `read`, or there is nothing of the method.
    """
    found = read(file)
    if method not in found:
        raise InputError(f"{file}: holds nothing of {method}; run the stage evaluate first")
    return found


def _is_evaluation(found: dict) -> bool:
    names = found.get("classes")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return False
    size, plain = len(names), found.get("unfiltered")
    return (
        _are(found.get("images"), size, _is_count)
        and isinstance(plain, dict)
        and _is_rate(plain.get("accuracy"))
        and all(_are(plain.get(rate), size, _is_rate) for rate in ("tpr", "fpr"))
        and _are(plain.get("confusion"), size, lambda row: _are(row, size, _is_count))
        and all(
            isinstance(value, dict) and (name == "planted" or _is_method(value, size))
            for name, value in found.items()
            if name not in ("classes", "images", "unfiltered")
        )
    )


def _is_method(found: dict, size: int) -> bool:
    shares = [value for name, value in found.items() if name[:1].isdecimal()]
    return ("grid" not in found or _is_grid(found["grid"], size)) and all(
        isinstance(share, dict) and all(_are(share.get(rate), size, _is_rate) for rate in ("tpr", "fpr"))
        for share in shares
    )


def _is_grid(found: Any, size: int) -> bool:
    if not (isinstance(found, dict) and isinstance(found.get("shares"), list)):
        return False
    count = len(found["shares"])
    return (
        _are(found["shares"], count, lambda share: share is not None and _is_rate(share))
        and _are(found.get("images"), size, _is_count)
        and all(_are(found.get(rate), count, lambda row: _are(row, size, _is_rate)) for rate in ("tpr", "fpr"))
        and _are(found.get("tpr_ci"), count, lambda row: _are(row, size, lambda ends: _are(ends, 2, _is_rate)))
    )


def _are(values: Any, size: int, kind: Any) -> bool:
    return isinstance(values, list) and len(values) == size and all(map(kind, values))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= _MOST


def _is_rate(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)
