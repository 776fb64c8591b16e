"""Dataclasses of results as JSON and back; their annotations are the schema that untrusted files have to meet.

Arrays become nested lists, with null for NaN. A dimension of an array is a number, or the name of a tuple
field of the same object or of one around it: `tpr: Float[np.ndarray, " classes"]` beside `classes: tuple[str, ...]`.
Other fields are str, bool, int (at least 0), float (in [0, 1]), dict[str, X], tuple[X, ...], dataclasses, X | None and
Any. `Annotated` adds limits of floats, or the length of a tuple.
"""

import dataclasses
import re
import reprlib
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import AbstractArray

from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# No number of images is larger, and float64 represents every whole number up to it.
_LARGEST_COUNT = 2**53

T = TypeVar("T")
R = TypeVar("R", bound="ResultFile")


class Length(NamedTuple):
    """The dimension that is as long as an annotated tuple."""

    dimension: str


class Between(NamedTuple):
    """Limits of annotated floats."""

    lowest: float
    highest: float


_SHARE = Between(0, 1)


class ResultFile:
    """Base of the dataclasses that fill a JSON file of their own.

    `stage` writes the file. `version` changes with its form; a file of another version is refused.
    """

    stage, version = "", 2

    def to_json(self) -> dict:
        """Return JSON values, with the version."""
        return {"version": self.version, **to_json(self)}

    @classmethod
    def from_json(cls: type[R], content: Any) -> R:
        """Return what `to_json` wrote; raises InputError for another form or version."""
        version = content.get("version") if isinstance(content, dict) else cls.version
        if type(version) is not int or version != cls.version:
            raise InputError(f"version: got {reprlib.repr(version)}; expected {cls.version}")
        return from_json(cls, content)

    @classmethod
    def read(cls: type[R], file: Path) -> R:
        """Read a file; raises InputError where it is damaged, or has another form or version."""
        content = files.read_json(file)
        try:
            return cls.from_json(content)
        except InputError as error:
            raise InputError(f"{file}: {error}; delete it and run the stage {cls.stage} again") from error


def to_json(value: Any) -> Any:
    """Return a dataclass, or a value of one of its fields, as JSON values."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    return np.where(np.isfinite(value), value, np.array(None)).tolist() if isinstance(value, np.ndarray) else value


def from_json(kind: type[T], value: Any, where: str = "", **sizes: int) -> T:
    """Return the dataclass of this kind that `to_json` made into a value.

    Args:
      kind: the dataclass.
      value: untrusted.
      where: what error messages call the value.
      **sizes: dimensions that an object around it defines.

    Raises:
      InputError: the value has another form.
    """
    if not isinstance(value, dict):
        raise _wrong(where, value, "a JSON object")
    fields = typing.get_type_hints(kind, include_extras=True)
    tuples = [name for name, hint in fields.items() if typing.get_origin(hint) is tuple]
    sizes |= {name: len(value[name]) for name in tuples if isinstance(value.get(name), list)}
    return kind(**{name: _value(hint, value.get(name), _join(where, name), sizes) for name, hint in fields.items()})


def _value(hint: Any, value: Any, where: str, sizes: dict[str, int], limits: Between = _SHARE) -> Any:
    """Return a checked value of an annotated field."""
    if hint is Any:
        return value
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for note in parts[1:]:
            limits = note if isinstance(note, Between) else limits
            if isinstance(note, Length) and (not isinstance(value, list) or len(value) != sizes[note.dimension]):
                raise _wrong(where, value, f"a list of {sizes[note.dimension]}")
        return _value(parts[0], value, where, sizes, limits)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(parts[0], value, where, sizes, limits)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        return tuple(_value(parts[0], part, f"{where}[{index}]", sizes, limits) for index, part in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, value, "a JSON object")
        return {key: _value(parts[1], part, _join(where, key), sizes) for key, part in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value, where, **sizes)
    if issubclass(hint, AbstractArray):
        return _array(hint, value, where, sizes, limits)
    is_valid, expected = _scalar(hint, limits)
    if not is_valid(value):
        raise _wrong(where, value, expected)
    return hint(value)


def _array(hint: Any, value: Any, where: str, sizes: dict[str, int], limits: Between) -> np.ndarray:
    # A starred dimension is left out of the results of a single class, which no file holds.
    names = [part.removeprefix("*") for part in hint.dim_str.split()]
    shape = tuple(sizes[name] if name in sizes else int(name) for name in names)
    kind = int if "int64" in hint.dtypes else float
    is_scalar, expected = _scalar(kind, limits)

    def is_nested(value: Any, shape: tuple[int, ...]) -> bool:
        if not shape:
            return is_scalar(value) or (value is None and kind is float)
        return isinstance(value, list) and len(value) == shape[0] and all(is_nested(part, shape[1:]) for part in value)

    if not is_nested(value, shape):
        raise _wrong(where, value, f"{expected}, as lists of shape [{', '.join(map(str, shape))}]")
    return np.array(value, kind).reshape(shape)


def _scalar(kind: type, limits: Between) -> tuple[Callable[[Any], bool], str]:
    """Return the test of a value of a simple kind, and the same in words."""
    if kind is int:
        return lambda value: type(value) is int and 0 <= value <= _LARGEST_COUNT, "a whole number of at least 0"
    if kind is float:
        low, high = limits
        return lambda value: type(value) in (int, float) and low <= value <= high, f"a number in [{low:g}, {high:g}]"
    return lambda value: type(value) is kind, {bool: "true or false", str: "a text"}[kind]


def _join(where: str, name: str) -> str:
    # A name in an untrusted file may have any length and hold line breaks.
    shown = name if re.fullmatch(r"[\w.+-]{1,60}", name) else reprlib.repr(name)
    return f"{where}.{shown}" if where else shown


def _wrong(where: str, value: Any, expected: str) -> InputError:
    return InputError(f"{where or 'content'}: got {reprlib.repr(value)}; expected {expected}")
