"""Tables of config fields, each with its default and its help."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from ml_collections import ConfigDict

from fsjax.runtime.errors import InputError, unknown

# Name of a field -> (default, help); name of a group -> the table of its fields.
Table: TypeAlias = Mapping[str, "tuple[Any, str] | Table"]


class Field(NamedTuple):
    """A config field as its table defines it."""

    default: Any
    help: str


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


def flat(values: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every field, sorted by name in each group."""
    for name, value in values.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def names(field: str, text: str, known: Collection[str], each: str) -> tuple[str, ...]:
    """Split a comma-separated list of names; raise InputError for an unknown or a repeated name.

    The message calls the list `field` and a name `each`.
    """
    listed = tuple(filter(None, map(str.strip, text.split(","))))
    for name in listed:
        if name not in known:
            raise unknown(field, name, known)
    if len(set(listed)) < len(listed):
        raise InputError(f"{field}: got {text!r}; expected each {each} once")
    return listed
