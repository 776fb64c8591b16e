"""Errors that end a run with one line and their own exit status."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """An unusable config value, file or folder.

    The message is one line, `field: got X; expected Y`. launch.py prints it and exits with status 2; code that calls
    fsjax as a library catches it as a ValueError.
    """


class CheckFailed(Exception):
    """A finished run whose result fails a check that the config asks for; launch.py exits with status 1."""


# More names than these are not listed.
_MOST_LISTED = 20


def unknown(field: str, name: str, known: Iterable[str]) -> InputError:
    """Return an error for an unknown name: what is likely meant, and the known names or, of many, those like it.

    Likely meant are the names that begin with the unknown one, else the nearest.
    """
    names = list(known)
    longer = [of for of in names if name and of.startswith(name)][:3]
    near = " or ".join(longer) or nearest(name, names)
    hint = f" (did you mean {near}?)" if near else ""
    if len(names) > _MOST_LISTED:
        like = difflib.get_close_matches(name, names, n=6, cutoff=0.0)
        return InputError(f"{field}: got {name!r}; expected one of {len(names)} names, such as {', '.join(like)}{hint}")
    return InputError(f"{field}: got {name!r}; expected {', '.join(names)}{hint}")


def one_line(error: BaseException) -> str:
    """Return the text of another library's error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def nearest(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """Return the known name most similar to `name`; None if their similarity, in [0, 1], is below `least`."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=least)), None)
