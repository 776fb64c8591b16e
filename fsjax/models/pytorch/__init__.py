"""PyTorch modules as JAX functions: a module's exported graph, and the arithmetic of its operators in JAX.

`OPERATORS` has the operators of PyTorch's exported graphs (core ATen) by name, without namespace and overload. Their
arguments are PyTorch's: arrays, numbers and nested lists, by place or by name. Arrays have their channels first,
arguments for memory layout are left out, and a `dtype` is NumPy's. To add an operator, write its function into the file
of its kind.
"""

from collections.abc import Callable

OPERATORS: dict[str, Callable] = {}


def operator(*names: str) -> Callable[[Callable], Callable]:
    """Register a function under the names of the operators that it computes."""

    def register(function: Callable) -> Callable:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register
