"""Dataclasses of results as JSON and back; their annotations are the schema that untrusted files have to meet.

Arrays become nested lists, with null for NaN. A dimension is a number, or the name of a tuple field of the same object
or of one around it: `tpr: Float[np.ndarray, " classes"]` beside `classes: tuple[str, ...]`. Whole numbers are at least
0, and floats in [0, 1]. `Annotated` gives floats other limits, and a tuple its length.
"""

import dataclasses
import re
import reprlib
import types
import typing
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import AbstractArray

from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

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
# No number of images is larger, and float64 represents every whole number up to it.
_COUNT = Between(0, 2**53)


class ResultFile:
    """Base of the dataclasses that fill a file: `stage` writes it, `version` changes with its form."""

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
    """Return the dataclass that `to_json` made into an untrusted value; raises InputError for another form.

    `where` names the value in messages; `sizes` are dimensions that an object around it defines.
    """
    _check(isinstance(value, dict), where, value, "a JSON object")
    fields = typing.get_type_hints(kind, include_extras=True)
    tuples = [name for name, hint in fields.items() if typing.get_origin(hint) is tuple]
    sizes |= {name: len(value[name]) for name in tuples if isinstance(value.get(name), list)}
    return kind(**{name: _value(hint, value.get(name), _join(where, name), sizes) for name, hint in fields.items()})


def _value(hint: Any, value: Any, where: str, sizes: dict[str, int], limits: Between = _SHARE) -> Any:
    """Return a checked value of an annotated field."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for note in parts[1:]:
            limits = note if isinstance(note, Between) else limits
            if isinstance(note, Length):
                size = sizes[note.dimension]
                _check(isinstance(value, list) and len(value) == size, where, value, f"a list of {size}")
        return _value(parts[0], value, where, sizes, limits)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(parts[0], value, where, sizes, limits)
    if origin is tuple:
        _check(isinstance(value, list), where, value, "a list")
        return tuple(_value(parts[0], part, f"{where}[{index}]", sizes, limits) for index, part in enumerate(value))
    if origin is dict:
        _check(isinstance(value, dict), where, value, "a JSON object")
        return {key: _value(parts[1], part, _join(where, key), sizes) for key, part in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value, where, **sizes)
    if hint in (str, bool):
        _check(type(value) is hint, where, value, "a text" if hint is str else "true or false")
        return value
    return value if hint is Any else _numbers(hint, value, where, sizes, limits)


def _numbers(hint: Any, value: Any, where: str, sizes: dict[str, int], limits: Between) -> Any:
    """Return a number, or an array of them."""
    is_array = issubclass(hint, AbstractArray)
    whole = "int64" in hint.dtypes if is_array else hint is int
    low, high = _COUNT if whole else limits
    expected = "a whole number of at least 0" if whole else f"a number in [{low:g}, {high:g}]"

    def is_nested(value: Any, shape: tuple[int, ...]) -> bool:
        if shape:
            return isinstance(value, list) and len(value) == shape[0] and all(is_nested(v, shape[1:]) for v in value)
        is_number = type(value) is int or (type(value) is float and not whole)
        return (is_number and low <= value <= high) or (value is None and is_array and not whole)

    if not is_array:
        _check(is_nested(value, ()), where, value, expected)
        return hint(value)
    # A starred dimension is left out of the results of a single class, which no file holds.
    names = [part.removeprefix("*") for part in hint.dim_str.split()]
    shape = tuple(sizes[name] if name in sizes else int(name) for name in names)
    _check(is_nested(value, shape), where, value, f"{expected}, as lists of shape [{', '.join(map(str, shape))}]")
    return np.array(value, int if whole else float).reshape(shape)


def _join(where: str, name: str) -> str:
    # A name in an untrusted file may have any length and hold line breaks.
    shown = name if re.fullmatch(r"[\w.+-]{1,60}", name) else reprlib.repr(name)
    return f"{where}.{shown}" if where else shown


def _check(is_valid: bool, where: str, value: Any, expected: str) -> None:
    if not is_valid:
        raise InputError(f"{where or 'content'}: got {reprlib.repr(value)}; expected {expected}")
