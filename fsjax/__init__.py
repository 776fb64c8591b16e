"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsjax.api import dominant_frequencies, load_weights
    from fsjax.evaluation.load_result import load_result

__version__ = "0.1.0"
__all__ = ["dominant_frequencies", "load_result", "load_weights"]

_MODULES = {"dominant_frequencies": "api", "load_weights": "api", "load_result": "evaluation.load_result"}


def __getattr__(name: str) -> Any:
    # On first use: importing JAX takes seconds, which the command line's own errors need not wait for.
    if name in _MODULES:
        return getattr(importlib.import_module(f"fsjax.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fsjax' has no attribute {name!r}")
