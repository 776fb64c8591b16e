"""The first form of evaluation.json, in which methods and shares stood beside other keys, as the form of today."""

from collections.abc import Callable
from typing import Any

_NOT_METHODS = ("classes", "images", "unfiltered", "planted")
_NOT_SHARES = ("searched_on", "forward_equivalents", "grid", "planted")


def from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """Return untrusted content of version 1 in the form of version 2; what is no object stays, to be refused later."""
    methods = {name: value for name, value in content.items() if name not in _NOT_METHODS}
    return {
        "classes": content.get("classes"),
        "images": content.get("images"),
        "unfiltered": content.get("unfiltered"),
        "planted": content.get("planted", {}),
        "methods": _each(methods, lambda method: _method(method, content)),
    }


def _each(values: dict[str, Any], convert: Callable[[dict], dict]) -> dict[str, Any]:
    return {name: convert(value) if isinstance(value, dict) else value for name, value in values.items()}


def _method(method: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    shares = {name: value for name, value in method.items() if name not in _NOT_SHARES}
    classes = len(content["classes"]) if isinstance(content.get("classes"), list) else 0
    return {
        "searched_on": method.get("searched_on"),
        "forward_equivalents": method.get("forward_equivalents"),
        "shares": _each(shares, lambda rates: _rates(rates, classes)),
        "grid": method.get("grid"),
        "planted": method.get("planted", {}),
    }


def _rates(rates: dict[str, Any], classes: int) -> dict[str, Any]:
    # The first files had no intervals.
    return {"tpr_ci": [[None, None]] * classes, **rates}
