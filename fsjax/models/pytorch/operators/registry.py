"""The table of operators, by name without namespace and overload."""

from collections.abc import Callable

OPERATORS: dict[str, Callable] = {}


def operator(*names: str) -> Callable[[Callable], Callable]:
    """Register a function under the names of operators that it computes."""

    def register(function: Callable) -> Callable:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register
