"""The protocol of data sources, and how data.classes chooses and orders their classes."""

import difflib
import logging
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from ml_collections import ConfigDict
from PIL import Image

from fsjax.runtime import workers
from fsjax.runtime.errors import InputError
from fsjax.runtime.image_files import Encoded, decode

logger = logging.getLogger(__name__)

# Characters of a class name; file systems accept as many for a folder.
LONGEST_NAME = 255
_DIRECTION_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Classes or images that a message names.
_NAMED = 5


@runtime_checkable
class Source(Protocol):
    """Images of one split at their natural size, with labels known before any image is decoded.

    classes: display names in index order. labels: int32 [images], each in [0, len(classes)). planted: the known
    shortcuts of a synthetic set, None for all others. An image is RGB: Pillow's where it was decoded, else an array.
    Reading an image raises InputError where it cannot be read.
    """

    classes: tuple[str, ...]
    labels: Int32[np.ndarray, " images"]
    planted: dict | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: SupportsIndex) -> Image.Image | UInt8[np.ndarray, "height width 3"]: ...


@runtime_checkable
class EncodedSource(Source, Protocol):
    """A Source whose images are decoded when they are read, in this process or in others."""

    def encoded(self, index: SupportsIndex) -> Encoded:
        """Return an image before it is decoded."""
        ...

    def __getitem__(self, index: SupportsIndex) -> Image.Image:
        return decode(*self.encoded(index))


def set_name(data: Mapping | ConfigDict) -> str:
    """Return data.name where data.source uses it, '' where it uses data.root. data: the fields of config.data."""
    by_name = data["source"] in ("synthetic", "tfds") or (data["source"] == "huggingface" and not data["root"])
    return data["name"] if by_name else ""


class ClassChoice(NamedTuple):
    """The classes that a run uses: their indices in the source, and their display names, in the run's order."""

    indices: tuple[int, ...]
    display: tuple[str, ...]

    def relabel(
        self, labels: Int[np.ndarray, " images"], available: int
    ) -> tuple[Int[np.ndarray, " chosen"], Int32[np.ndarray, " chosen"]]:
        """Return positions of the chosen classes' images, and their labels in the run's order.

        labels: the source's, in [0, available).
        """
        table = np.full(available, -1, np.int32)
        table[list(self.indices)] = np.arange(len(self.indices), dtype=np.int32)
        relabelled = table[labels]
        chosen = np.flatnonzero(relabelled >= 0)
        return chosen, relabelled[chosen]


def choose_classes(chosen: str | Sequence[str], names: Sequence[str], where: str) -> ClassChoice:
    """Choose classes of a source by data.classes; '' = all of them in the source's order.

    chosen: 'cat,dog' or 'n02690373=airliner,n02814533=wagon', a subset in index order with optional display names; or
    a sequence of names. where: what holds the names, for messages. Raises InputError for a malformed text and for an
    unknown name.
    """
    positions = {name: position for position, name in enumerate(names)}
    given = _pairs(chosen)
    pairs = given or [(name, name) for name in names]
    for name, _ in pairs:
        if name not in positions:
            raise InputError(f"data.classes: no class {name!r} in {where}; {suggest(name, names)}")
    for _, display in pairs:
        _check_name(display, "data.classes" if given else where)
    return ClassChoice(tuple(positions[name] for name, _ in pairs), tuple(display for _, display in pairs))


def choose_numbered(chosen: str | Sequence[str], available: int, where: str) -> ClassChoice:
    """Choose among labels 0 to available - 1, whose classes are called '0', '1', ...

    chosen: picks among those ('3=cat,5=dog'); or other names, which name the labels 0, 1, ... in order ('plane,car').
    Raises InputError for fewer such names than labels.
    """
    numbers = [str(label) for label in range(available)]
    pairs = _pairs(chosen)
    if not pairs or any(name in numbers for name, _ in pairs):
        return choose_classes(chosen, numbers, where)
    if len(pairs) < available:
        raise InputError(f"data.classes: got {len(pairs)} names; expected {available}, as many as classes in {where}")
    return ClassChoice(tuple(range(available)), tuple(display for _, display in pairs))


def _pairs(chosen: str | Sequence[str]) -> list[tuple[str, str]]:
    return parse_classes(chosen) if isinstance(chosen, str) else _each_once([(name, name) for name in chosen])


def parse_classes(text: str) -> list[tuple[str, str]]:
    """Parse 'n1=airliner,n2' to [('n1', 'airliner'), ('n2', 'n2')]; raise InputError for an empty or repeated name."""
    if not text.strip():
        return []
    pairs = []
    for entry in text.split(","):
        name, equals, display = (part.strip() for part in entry.partition("="))
        if not name or (equals and not display):
            raise InputError(f"data.classes: got the entry {entry!r}; expected 'name' or 'name=display name'")
        pairs.append((name, display or name))
    return _each_once(pairs)


def _each_once(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    for kind, values in (("class", [p[0] for p in pairs]), ("display name", [p[1] for p in pairs])):
        for value in values:
            if values.count(value) > 1:
                raise InputError(f"data.classes: got {kind} {value!r} {values.count(value)} times; expected it once")
    return pairs


def _check_name(name: str, where: str) -> None:
    """Raise InputError for a name that is not a line of text: names stand in tables, figures, logs and messages."""
    # Control characters, half characters (from a folder's name that is not UTF-8), line ends, and marks that reverse
    # the direction of what follows. Letters of right-to-left scripts are accepted.
    bad = [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTION_MARKS]
    if bad or not 0 < len(name) <= LONGEST_NAME:
        cause = f"has the character {bad[0]!a}" if bad else f"is {len(name)} characters long"
        raise InputError(
            f"{where}: class name {name[:40]!a} {cause}; expected one line of 1 to {LONGEST_NAME} "
            "characters (a folder may be given another name: data.classes=FOLDER=NAME,...)"
        )


def suggest(name: str, names: Sequence[str], shown: int = 10) -> str:
    """Return the names near a wrong name, or the first few accepted names, as the end of an error message."""
    if near := difflib.get_close_matches(name, names, n=3, cutoff=0.6):
        return "near names: " + ", ".join(near)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return "expected " + (", ".join(sorted(names)[:shown]) or "none") + more


def check_every_class_has_images(source: Source, where: str) -> None:
    """Raise InputError that names the classes without an image in this split."""
    counts = np.bincount(source.labels, minlength=len(source.classes))
    empty = [name for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        named = ", ".join(empty[:_NAMED])
        raise InputError(f"{where}: got no image of class {named}{more}; expected one or more of each")


def find_decodable(decode: Callable[[int], object], names: Sequence[str], where: str) -> Bool[np.ndarray, " images"]:
    """Return which images decode, and log the number and the first names of the others.

    Args:
      decode: index of an image -> the image; raises InputError where it does not decode.
      names: of the images, for the log.
      where: name of the set, for the log.
    """

    def decodes(index: int) -> bool:
        try:
            return decode(index) is not None
        except InputError:
            return False

    with ThreadPoolExecutor(workers.core_count()) as pool:
        good = np.fromiter(pool.map(decodes, range(len(names))), bool, len(names))
    bad = [names[index] for index in np.flatnonzero(~good).tolist()]
    if bad:
        named = ", ".join(bad[:_NAMED]) + (", ..." if len(bad) > _NAMED else "")
        logger.info("%s: left out %d of %d images, which do not decode: %s", where, len(bad), len(names), named)
    return good
    named = f"{', '.join(bad[:_NAMED])}{', ...' if len(bad) > _NAMED else ''}"
    logger.info("%s: left out %d of %d images, which do not decode: %s", where, len(bad), len(names), named)
    return good
