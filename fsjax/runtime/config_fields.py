"""Tables of config fields, each with its default, its help and the interval of its numbers."""

import math
from collections.abc import Collection, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeAlias

from ml_collections import ConfigDict

from fsjax.runtime.errors import InputError, check_known, expect

# Name of a field -> (default, help), or (default, help, interval); name of a group -> the table of its fields.
Table: TypeAlias = Mapping[str, "tuple[Any, str] | tuple[Any, str, str] | Table"]
_FROM_ZERO = "[0, inf)"
# Steps, counts and indices are int32 in JAX.
_WHOLE_BELOW = 2**31


class Field(NamedTuple):
    """A config field as its table defines it."""

    default: Any
    help: str
    interval: str = _FROM_ZERO  # of a number, or of each number in a tuple


# Every field that `config` has built, by dotted name, in the order of the tables. A ConfigDict holds only values.
FIELDS: dict[str, Field] = {}


def config(table: Table, prefix: str = "") -> ConfigDict:
    """Return the defaults of a table as a ConfigDict, and record its fields in FIELDS.

    `prefix` is the dotted name of the ConfigDict's group in an experiment; '' = the experiment itself.
    """
    values = ConfigDict()
    for name, entry in table.items():
        dotted = f"{prefix}.{name}".lstrip(".")
        if isinstance(entry, Mapping):
            values[name] = config(entry, dotted)
        else:
            FIELDS[dotted] = Field(*entry)
            values[name] = FIELDS[dotted].default
    return values


def update(values: ConfigDict, fields: Mapping[str, Any]) -> None:
    """Set fields by their names; raise InputError for a value of another type."""
    for name, value in fields.items():
        try:
            values[name] = value
        except TypeError as error:
            raise InputError(f"{name}: got {value!r}; expected {type(values[name]).__name__}") from error


def flat(values: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every field, sorted by name in each group."""
    for name, value in values.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check(values: ConfigDict, prefix: str = "") -> None:
    """Raise InputError for a number outside the interval of its field; `prefix` ends the dotted name of a group."""
    for name, value in flat(values, prefix):
        field = FIELDS.get(name, Field(None, ""))
        for number in value if isinstance(value, tuple) else (value,):
            if field.interval != _FROM_ZERO or (isinstance(number, Real) and not isinstance(number, bool)):
                check_number(name, number, field.interval)


def check_number(name: str, number: Any, interval: str = _FROM_ZERO, *, whole: bool = False) -> None:
    """Raise InputError for anything but a finite number of an interval, such as '(0, 1]'; whole ones are below 2^31."""
    least, most = map(float, interval[1:-1].split(","))
    if most == math.inf and (whole or isinstance(number, Integral)):
        most = _WHOLE_BELOW
    is_number = isinstance(number, Integral if whole else Real) and not isinstance(number, bool)
    is_inside = is_number and (least < number < most or (number, interval[0]) == (least, "["))
    if is_inside or (is_number and (number, interval[-1]) == (most, "]")):
        return
    kind = "" if is_number else "a whole number, " if whole else "a number, "
    low = f"{least:g} or more" if interval[0] == "[" else f"above {least:g}"
    high = "finite" if most == math.inf else f"up to {most:.10g}" if interval[-1] == "]" else f"below {most:.10g}"
    raise InputError(f"{name}: got {number!r}; expected {kind}{low} and {high}")


def names(field: str, text: str, known: Collection[str], each: str) -> tuple[str, ...]:
    """Split a comma-separated list of names; raise InputError for an unknown or a repeated name.

    The message calls the list `field` and a name `each`.
    """
    listed = tuple(filter(None, map(str.strip, text.split(","))))
    for name in listed:
        check_known(field, name, known)
    expect(len(set(listed)) == len(listed), field, text, f"each {each} once")
    return listed
