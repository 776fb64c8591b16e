"""The maps that a way of training takes from a workdir or a file."""

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from fsjax.fourier import published_maps
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def read_masks(
    way: str, options: ConfigDict, size: int, classes: tuple[str, ...] | None = None
) -> Bool[np.ndarray, "classes size size"]:
    """Return the masks that train.<way>.maps names, in the order of the classes.

    A file of several shares must have train.<way>.share among them; one of a single share is taken as it is; a pickle
    of scores is cut at that share by the published threshold.

    Args:
      way: its name.
      options: config.train.<way>.
      size: side of the images.
      classes: display names of the data's classes; None = not compared.

    Raises:
      InputError: a share that cannot be used, or maps that are missing, of another size or share, or of other classes.
    """
    if not 0 < options.share <= 1:
        raise InputError(f"train.{way}.share: got {options.share:g}; expected above 0, up to 1")
    maps = published_maps.read_maps(options.maps, classes=None, shares=(options.share,))
    height, width = maps.masks.shape[-2:]
    if (height, width) != (size, size):
        raise InputError(
            f"train.{way}.maps: {options.maps} has {height} x {width} pixels; expected data.image_size, {size}"
        )
    # Published files number their classes.
    if classes is not None and (maps.classes != classes if maps.named else len(maps.classes) != len(classes)):
        raise InputError(
            f"train.{way}.maps: {options.maps} has the {_short(maps.classes)}; expected the data's {_short(classes)}"
        )
    share = maps.nearest(options.share)
    if len(maps.shares) > 1 and abs(share - options.share) > 1e-9:
        available = ", ".join(f"{share:g}" for share in maps.shares)
        raise InputError(f"train.{way}.share: got {options.share:g}; expected a share of {options.maps}: {available}")
    return np.array(maps.at(share))


def file_of(options: ConfigDict) -> Path:
    """Return the file that train.<way>.maps names; raise InputError where it is missing."""
    return published_maps.file_of(options.maps)


def _short(classes: tuple[str, ...]) -> str:
    noun = "class" if len(classes) == 1 else "classes"
    return f"{len(classes)} {noun} {', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}"
