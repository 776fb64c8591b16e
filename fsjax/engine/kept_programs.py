"""Programs of a function, kept as long as the function is, so that the next run in a process need not compile them."""

from collections.abc import Callable, Hashable
from types import FunctionType

_ATTRIBUTE = "_fsjax_programs"


def kept(function: Callable, key: Hashable, make: Callable[[], Callable]) -> Callable:
    """Return what `make` returned when a program of this function and key was asked for first.

    The programs hang on the function, which they call. A cache beside it would keep a caller's model in memory. Other
    callables get a new program each time: a bound method has the attributes of its class's function, which are those of
    all objects.
    """
    if not isinstance(function, FunctionType):
        return make()
    programs = vars(function).setdefault(_ATTRIBUTE, {})
    if key not in programs:
        programs[key] = make()
    return programs[key]
