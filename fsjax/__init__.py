"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsjax.api.analysis import analyse, dominant_frequencies, evaluate
    from fsjax.api.images import attribute, filter, graft
    from fsjax.api.result import Result, load_result
    from fsjax.models.model_file import load_model, save_model
    from fsjax.models.pytorch.graph import from_torch
    from fsjax.models.state_dict import load_weights

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
    **dict.fromkeys(("analyse", "dominant_frequencies", "evaluate"), "api.analysis"),
    **dict.fromkeys(("attribute", "filter", "graft"), "api.images"),
    **dict.fromkeys(("Result", "load_result"), "api.result"),
    **dict.fromkeys(("load_model", "save_model"), "models.model_file"),
    "load_weights": "models.state_dict",
    "from_torch": "models.pytorch.graph",
}


def __getattr__(name: str) -> Any:
    # Import on first use: JAX takes seconds, and errors of the command line need not wait for it.
    if name in _MODULES:
        return getattr(importlib.import_module(f"fsjax.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fsjax' has no attribute {name!r}")
