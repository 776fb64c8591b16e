"""Programs of a function, kept as long as the function is, so that the next run in a process need not compile them."""

from collections.abc import Callable, Hashable

_ATTRIBUTE = "_fsjax_programs"


def kept(function: Callable, key: Hashable, make: Callable[[], Callable]) -> Callable:
    """Return what `make` returned when a program of this function and key was asked for first.

    The programs hang on the function, which they call. A cache beside it would keep a caller's model in memory. What
    takes no attributes, such as a bound method, gets a new program each time.
    """
    try:
        programs = vars(function).setdefault(_ATTRIBUTE, {})
    except TypeError:
        return make()
    if key not in programs:
        programs[key] = make()
    return programs[key]
