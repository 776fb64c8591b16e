"""The protocol of data sources, and how data.classes chooses and orders their classes."""

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, UInt8
from ml_collections import ConfigDict
from PIL import Image

from fsjax.data import imagenet
from fsjax.runtime import workers
from fsjax.runtime.errors import InputError, check_known, listed, printable
from fsjax.runtime.image_files import Encoded, decode

logger = logging.getLogger(__name__)

# Characters of a class name; file systems accept as many for a folder.
LONGEST_NAME = 255
# Sides of the model's images, in pixels.
IMAGE_SIZES = "[1, 4096]"
# Larger numbers are no labels.
LARGEST_LABEL = 99_999


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


@dataclasses.dataclass
class EncodedSource(Source):
    """A Source whose images are decoded when they are read, in this process or in others.

    encoded: index -> the image before it is decoded. files: paths of the images, where they are files.
    """

    classes: tuple[str, ...]
    labels: Int32[np.ndarray, " images"]
    encoded: Callable[[int], Encoded]
    files: Sequence[str] = ()

    def __getitem__(self, index: SupportsIndex) -> Image.Image:
        return decode(*self.encoded(int(index)))


def set_name(data: Mapping | ConfigDict) -> str:
    """Return data.name where data.source uses it, '' where it uses data.root. data: the fields of config.data."""
    by_name = data["source"] in ("synthetic", "tfds") or (data["source"] == "huggingface" and not data["root"])
    return data["name"] if by_name else ""


class ClassChoice(NamedTuple):
    """The classes that a run uses: their indices in the source, and their display names, in the run's order."""

    indices: tuple[int, ...]
    display: tuple[str, ...]

    def relabel(
        self, labels: Int[np.ndarray, " images"]
    ) -> tuple[Int[np.ndarray, " chosen"], Int32[np.ndarray, " chosen"]]:
        """Return positions of the chosen classes' images, and their labels in the run's order."""
        table = np.full(1 + max((*self.indices, int(labels.max(initial=0)))), -1, np.int32)
        table[list(self.indices)] = np.arange(len(self.indices), dtype=np.int32)
        relabelled = table[labels]
        chosen = np.flatnonzero(relabelled >= 0)
        return chosen, relabelled[chosen]


def choose_classes(chosen: str | Sequence[str], names: Sequence[str], where: str) -> ClassChoice:
    """Choose classes of a source by data.classes; '' = all of them in the source's order.

    chosen: 'cat,dog' or 'n02690373=airliner,n02814533=wagon', a subset in index order with optional display names;
    'imagenet' = all of a source whose names are ImageNet's ids; or a sequence of names. Where names are '0', '1', ...,
    other names name them in order ('plane,car'). where: what holds the names, for messages. Raises
    InputError for a malformed text, an unknown name, and fewer names than numbers.
    """
    positions = {name: position for position, name in enumerate(names)}
    given = parse_classes(chosen)
    if chosen == imagenet.CLASSES:
        imagenet.outputs(names, where)
        given = [(name, display) for name, display in given if name in positions]
    if list(names) == list(map(str, range(len(names)))) and not any(name in positions for name, _ in given) and given:
        if len(given) < len(names):
            raise InputError(f"data.classes: got {len(given)} names; expected {len(names)}, as many as in {where}")
        return ClassChoice(tuple(range(len(names))), tuple(display for _, display in given))
    pairs = given or [(name, name) for name in names]
    for name, _ in pairs:
        check_known(f"data.classes, in {where}", name, names)
    display = check_names([display for _, display in pairs], "data.classes" if given else where)
    return ClassChoice(tuple(positions[name] for name, _ in pairs), display)


def check_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the display names of classes; raise InputError for a repeated one, and one that is no line of text."""
    for name, count in Counter(names).items():
        # Names stand in tables, figures, logs and messages.
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
            expected = f"1 to {LONGEST_NAME} printable characters, as data.classes=FOLDER=NAME,... gives a folder"
            raise InputError(f"{where}: class name {ascii(name)[:42]}; expected {expected}")
        if count > 1:
            raise InputError(f"{where}: got class {name!r} {count} times; expected it once")
    return tuple(names)


def parse_classes(chosen: str | Sequence[str]) -> list[tuple[str, str]]:
    """Parse 'cat=pet,dog' to [('cat', 'pet'), ('dog', 'dog')]; raise InputError for an empty or repeated class.

    A class with an id of ImageNet is shown by its name there: 'n02391049' gives ('n02391049', 'zebra'). 'imagenet'
    gives all 1,000 classes.
    """
    if chosen == imagenet.CLASSES:
        return list(imagenet.names().items())
    if not isinstance(chosen, str):
        pairs = [(name, name) for name in chosen]
    else:
        pairs = []
        for entry in chosen.split(",") if chosen.strip() else ():
            name, equals, display = (part.strip() for part in entry.partition("="))
            if not name or (equals and not display):
                raise InputError(f"data.classes: got the entry {entry!r}; expected 'name' or 'name=display name'")
            pairs.append((name, display or imagenet.names().get(name, name)))
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise InputError(f"data.classes: got class {name!r} {count} times; expected it once")
    return pairs


def check_labels(labels: Int[np.ndarray, " images"], where: str, largest: int = LARGEST_LABEL) -> None:
    """Raise InputError for a label that is not from 0 to `largest`."""
    if len(labels) and not 0 <= labels.min() <= labels.max() <= largest:
        advice = "is the split unlabelled?" if labels.min() < 0 else "labels count from 0"
        raise InputError(f"{where}: got labels {labels.min()} to {labels.max()}; expected 0 to {largest} ({advice})")


def check_every_class_has_images(source: Source, where: str) -> None:
    """Raise InputError that names the classes without an image in this split."""
    counts = np.bincount(source.labels, minlength=len(source.classes))
    empty = [name for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        advice = " (labels count from 0)" if empty == ["0"] else ""
        raise InputError(f"{where}: got no image of class {listed(empty)}; expected one or more of each{advice}")


def find_decodable(source: Source, where: str) -> Int[np.ndarray, " good"]:
    """Return the indices of the images that decode; log the first names of the others, of the set `where`.

    Raises InputError where there are images and none decodes.
    """

    def decodes(index: int) -> bool:
        try:
            return source[index] is not None
        except InputError:
            return False

    with ThreadPoolExecutor(workers.core_count()) as pool:
        good = np.fromiter(pool.map(decodes, range(len(source))), bool, len(source))
    if not good.all():
        files = getattr(source, "files", ()) or [*map(str, range(len(source)))]
        bad = [short_name(files[index]) for index in np.flatnonzero(~good).tolist()]
        if not good.any():
            raise InputError(f"{where}: got no image that decodes ({listed(bad)}); expected one or more")
        message = "%s: left out %d of %d images, which do not decode: %s"
        logger.info(message, where, len(bad), len(source), printable(listed(bad)))
    return np.flatnonzero(good)


def short_name(file: str) -> str:
    return "/".join(file.replace(os.sep, "/").rsplit("/", 2)[-2:])
