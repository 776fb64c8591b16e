"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsjax.api.analysis import analyse, evaluate
    from fsjax.api.images import attribute, filter, graft
    from fsjax.api.maps import dominant_frequencies
    from fsjax.api.result import Result, load_result
    from fsjax.api.weights import load_weights
    from fsjax.models.model_file import load_model, save_model
    from fsjax.models.pytorch.graph import from_torch

__version__ = "0.1.0"
__all__ = [
    "Result",
    "analyse",
    "attribute",
    "dominant_frequencies",
    "evaluate",
    "filter",
    "from_torch",
    "graft",
    "load_model",
    "load_result",
    "load_weights",
    "save_model",
]

_MODULES = {
    **dict.fromkeys(("analyse", "evaluate"), "api.analysis"),
    **dict.fromkeys(("attribute", "filter", "graft"), "api.images"),
    "dominant_frequencies": "api.maps",
    **dict.fromkeys(("Result", "load_result"), "api.result"),
    **dict.fromkeys(("load_model", "save_model"), "models.model_file"),
    "load_weights": "api.weights",
    "from_torch": "models.pytorch.graph",
}


def __getattr__(name: str) -> Any:
    # On first use: importing JAX takes seconds, which the command line's own errors need not wait for.
    if name in _MODULES:
        return getattr(importlib.import_module(f"fsjax.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fsjax' has no attribute {name!r}")
