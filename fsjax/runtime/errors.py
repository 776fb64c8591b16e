"""The errors that end a run with one line and an exit status of its own."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A config value, file or folder that cannot be used.

    The message is one line: the thing, what was found, what is expected. launch.py prints it and exits with
    status 2; code that calls fsjax as a library catches it as a ValueError.
    """


class CheckFailed(Exception):
    """Everything is done and written, and what was asked of the result does not hold; launch.py exits with status 1."""


def unknown(field: str, kind: str, name: str, known: Iterable[str]) -> InputError:
    """For a name that is not known: "field: got 'name'; expected a kind: ..." and the nearest of the known names."""
    near = nearest(name, known)
    hint = f" (did you mean {near}?)" if near else ""
    return InputError(f"{field}: got {name!r}; expected {', '.join(known)}{hint}")


def nearest(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """The known name that is most like one that is not; None where their likeness, in [0, 1], is below `least`."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=least)), None)
