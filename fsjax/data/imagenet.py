"""ImageNet-1k's classes: WordNet ids (wnids) and torchvision's names for them, in the order of a network's outputs."""

import functools
import pathlib
from collections.abc import Sequence

from fsjax.runtime.errors import InputError

# The value of data.classes and model.outputs that stands for these classes.
CLASSES = "imagenet"


@functools.cache
def names() -> dict[str, str]:
    """Return the name of each wnid, sorted by wnid; the position is the index of the output."""
    lines = pathlib.Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def outputs(wnids: Sequence[str], where: str) -> list[int]:
    """Return the output of each class in a network with ImageNet's 1,000 outputs.

    Raises InputError for a name that is no wnid of ImageNet-1k; `where`: what names the classes.
    """
    places = {wnid: index for index, wnid in enumerate(names())}
    if strangers := [name for name in wnids if name not in places]:
        raise InputError(f"{where}: got class {strangers[0]!r}; expected an ImageNet-1k id, as n02391049")
    return [places[wnid] for wnid in wnids]
