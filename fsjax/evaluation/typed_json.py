"""Dataclasses of results as JSON and back; their annotations are the schema.

Arrays become nested lists, with null for NaN. A dimension is a number, or the name of a tuple field of the same object
or of one around it: `tpr: Float[np.ndarray, " classes"]` beside `classes: tuple[str, ...]`.
"""

import dataclasses
import types
import typing
from typing import Any, TypeVar

import numpy as np
from jaxtyping import AbstractArray

from fsjax.runtime import files
from fsjax.runtime.errors import InputError, expect, one_line
from fsjax.runtime.storage import Path

T = TypeVar("T")
R = TypeVar("R", bound="ResultFile")


class ResultFile:
    """Base of the dataclasses that fill a file: `made_by` writes it, `version` changes with its form."""

    made_by, version = "", 2

    def to_json(self) -> dict:
        """Return JSON values, with the version."""
        return {"version": self.version, **to_json(self)}

    @classmethod
    def read(cls: type[R], file: Path) -> R:
        """Read a file; raises InputError where it is damaged, or has another form or version."""
        content = files.read_json(file)
        version = content.get("version") if isinstance(content, dict) else None
        try:
            expect(version == cls.version, "version", version, str(cls.version))
            return from_json(cls, content)
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise InputError(f"{file}: {one_line(error)}; delete it and run {cls.made_by} again") from error


def to_json(value: Any) -> Any:
    """Return a dataclass, or a value of one of its fields, as JSON values."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    return np.where(np.isfinite(value), value, np.array(None)).tolist() if isinstance(value, np.ndarray) else value


def from_json(kind: type[T], value: Any, **sizes: int) -> T:
    """Return the dataclass that `to_json` made into a value; a value of another form raises one of many errors.

    `sizes` are dimensions that an object around it defines.
    """
    fields = typing.get_type_hints(kind)
    expect(isinstance(value, dict) and fields.keys() <= value.keys(), kind.__name__, value, ", ".join(fields))
    sizes |= {name: len(value[name]) for name, hint in fields.items() if typing.get_origin(hint) is tuple}
    return kind(**{name: _value(name, hint, value[name], sizes) for name, hint in fields.items()})


def _value(name: str, hint: Any, value: Any, sizes: dict[str, int]) -> Any:
    """Return the value of an annotated field."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(name, parts[0], value, sizes)
    if origin is tuple:
        return tuple(_value(name, parts[0], part, sizes) for part in value)
    if origin is dict:
        return {key: _value(name, parts[1], part, sizes) for key, part in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value, **sizes)
    if hint in (str, bool, int, float):
        expect(type(value) is hint or (hint is float and type(value) is int), name, value, hint.__name__)
        return hint(value)
    return value if hint is Any else _array(name, hint, value, sizes)


def _array(name: str, hint: type[AbstractArray], value: Any, sizes: dict[str, int]) -> np.ndarray:
    # A starred dimension is left out of the results of a single class, which no file holds.
    dimensions = [part.removeprefix("*") for part in hint.dim_str.split()]
    shape = tuple(sizes[part] if part in sizes else int(part) for part in dimensions)
    array = np.array(value, int if "int64" in hint.dtypes else float)
    expect(array.shape == shape, name, value, f"lists of shape {list(shape)}")
    return array
