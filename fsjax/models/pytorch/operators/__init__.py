"""The operators of PyTorch's exported graphs (core ATen) in JAX.

Arguments are PyTorch's: arrays, numbers and nested lists, by place or by name. Arrays have their channels first; where
they lie is left out, and a `dtype` is NumPy's. To add an operator, write its function into the file of its kind.
"""

from fsjax.models.pytorch.operators import elementwise, indexing, matrices, norms, resizing, shapes, windows
from fsjax.models.pytorch.operators.registry import OPERATORS

__all__ = ["OPERATORS", "elementwise", "indexing", "matrices", "norms", "resizing", "shapes", "windows"]
