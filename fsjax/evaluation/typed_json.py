"""Dataclasses of results as JSON values and back; their annotations are the schema that untrusted files have to meet.

Arrays become nested lists in which null stands for NaN. A dimension of an array is a number, or the name of a tuple
field of the same object or of one around it: `tpr: Float[np.ndarray, " classes"]` beside `classes: tuple[str, ...]`.
Other fields are str, bool, int (at least 0), float, dict[str, X], tuple[X, ...], dataclasses, X | None and Any.
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
    """Annotation of a tuple field: the name of the dimension that it is as long as."""

    dimension: str


class Between(NamedTuple):
    """Annotation of floats: their limits, where these are not 0 and 1."""

    lowest: float
    highest: float


_SHARE = Between(0, 1)


class ResultFile:
    """Base of the dataclasses that are all of a JSON file; version 1 of these files has another form, and no version.

    `stage` is the one that writes the file. A later `version` has further fields, which may be None.
    """

    stage, version = "", 2

    def to_json(self) -> dict:
        """Return JSON values, with the version."""
        return {"version": self.version, **to_json(self)}

    @classmethod
    def from_json(cls: type[R], content: Any) -> R:
        """Return what `to_json` wrote, in this version or an earlier one; raises InputError for another form."""
        if isinstance(content, dict):
            version = content.get("version", 1)
            if type(version) is not int or not 1 <= version <= cls.version:
                raise InputError(f"version: got {version!r}; expected at most {cls.version}")
            if version == 1:
                content = cls.from_version_1(content)
        return from_json(cls, content)

    @classmethod
    def read(cls: type[R], file: Path) -> R:
        """Read a file; raises InputError where it is damaged, or not what the stage writes."""
        content = files.read_json(file)
        try:
            return cls.from_json(content)
        except InputError as error:
            raise InputError(f"{file}: {error}; delete it and run the stage {cls.stage} again") from error

    @staticmethod
    def from_version_1(content: dict[str, Any]) -> dict[str, Any]:
        """Return untrusted content of version 1 in the form of version 2; what is no object stays as it is."""
        raise NotImplementedError


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
      kind: of the dataclass.
      value: untrusted.
      where: what error messages call the value.
      **sizes: of dimensions that the object takes from outside.

    Raises:
      InputError: the value is of another form.
    """
    if not isinstance(value, dict):
        raise _wrong(where, value, "a JSON object")
    fields = typing.get_type_hints(kind, include_extras=True)
    tuples = [name for name, hint in fields.items() if typing.get_origin(hint) is tuple]
    own = {name: len(value[name]) for name in tuples if isinstance(value.get(name), list)}
    return kind(
        **{name: _value(hint, value.get(name), _join(where, name), sizes | own) for name, hint in fields.items()}
    )


def _value(hint: Any, value: Any, where: str, sizes: dict[str, int], limits: Between = _SHARE) -> Any:
    """Return a checked value of an annotated field."""
    if hint is Any:
        return value
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for note in parts[1:]:
            if isinstance(note, Between):
                limits = note
            elif not isinstance(value, list) or len(value) != sizes[note.dimension]:
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
    shape = tuple(sizes[part] if part in sizes else int(part) for part in hint.dim_str.split())
    kind = int if "int64" in hint.dtypes else float
    is_scalar, expected = _scalar(kind, limits)

    def is_valid(value: Any) -> bool:
        return is_scalar(value) or (value is None and kind is float)

    if not _is_nested(value, shape, is_valid):
        raise _wrong(where, value, f"{expected}, as lists of shape [{', '.join(map(str, shape))}]")
    return np.array(value, kind).reshape(shape)


def _scalar(kind: type, limits: Between) -> tuple[Callable[[Any], bool], str]:
    """Return what a value of a simple kind has to meet, and the same in words."""
    if kind is int:
        return lambda value: type(value) is int and 0 <= value <= _LARGEST_COUNT, "a whole number of at least 0"
    if kind is float:
        lowest, highest = limits
        return (
            lambda value: type(value) in (int, float) and lowest <= value <= highest,
            f"a number in [{lowest:g}, {highest:g}]",
        )
    return lambda value: type(value) is kind, {bool: "true or false", str: "a text"}[kind]


def _is_nested(value: Any, shape: tuple[int, ...], is_valid: Callable[[Any], bool]) -> bool:
    if not shape:
        return is_valid(value)
    return isinstance(value, list) and len(value) == shape[0] and all(_is_nested(v, shape[1:], is_valid) for v in value)


def _join(where: str, name: str) -> str:
    # A name in an untrusted file may be of any length and hold line breaks.
    shown = name if re.fullmatch(r"[\w.+-]{1,60}", name) else reprlib.repr(name)
    return f"{where}.{shown}" if where else shown


def _wrong(where: str, value: Any, expected: str) -> InputError:
    return InputError(f"{where or 'content'}: got {reprlib.repr(value)}; expected {expected}")
