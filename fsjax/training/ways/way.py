"""The interface of a way of training, and what ways share.

A way changes the images of a step, or makes copies that are trained on beside them.
"""

import dataclasses
import reprlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from fsjax.fourier import published_maps
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

Keys = Key[Array, " n"]
Labels = Int[Array, " n"]
Images = Float[Array, "n height width 3"]
# (keys, labels, normalised images) -> images, inside pmap over parallel.AXIS; jit-able
Transform = Callable[[Keys, Labels, Images], Images]
# images -> a positive multiple of d loss / d images, under the step's parameters
Gradient = Callable[[Images], Images]


@dataclasses.dataclass(frozen=True)
class Copies:
    """Copies of a step's images: the loss is the mean cross-entropy over the images and each copy.

    Attributes:
      make: (keys, labels, normalised images, gradient) -> copies, inside pmap over parallel.AXIS. The ways before have
        changed the images already. No gradient flows through the copies.
      auxiliary: whether the copies go through BatchNorms with other parameters and statistics, which the trained
        classifier does not have; all such copies share them.
    """

    make: Callable[[Keys, Labels, Images, Gradient], tuple[Images, ...]]
    auxiliary: bool = False


@dataclasses.dataclass(frozen=True)
class Setting:
    """The training as a way sees it."""

    options: ConfigDict  # config.train
    size: int  # side of the images
    classes: tuple[str, ...]  # display names
    mean_std: tuple[np.ndarray, np.ndarray]  # of pixels in [0, 1], per channel; normalises the images
    directory: Path  # the workdir


@dataclasses.dataclass(frozen=True)
class Way:
    """A way of training.

    Its draws depend only on the keys of images, which come from seed, epoch and image: never on devices, processes or a
    restart.

    Attributes:
      fields: of config.train.<name>.
      make: Setting -> what changes or copies the images; raises InputError for files that do not fit the data.
      check: (config.train, side of the images) -> None; raises InputError for unusable fields, before anything runs.
      files: (config.train, workdir) -> field -> the file that the way reads.
      passes: forward and backward passes that it adds to a step.
    """

    fields: Table
    make: Callable[[Setting], Transform | Copies]
    check: Callable[[ConfigDict, int], None] = lambda options, size: None
    files: Callable[[ConfigDict, Path], dict[str, Path]] = lambda options, directory: {}
    passes: int = 0


def to_pixels(images: Images, mean_std: tuple[np.ndarray, np.ndarray]) -> Images:
    """Return the pixels, in [0, 1], of normalised images; `from_pixels` is the inverse."""
    return images * np.float32(mean_std[1]) + np.float32(mean_std[0])


def from_pixels(pixels: Images, mean_std: tuple[np.ndarray, np.ndarray]) -> Images:
    """Normalise pixels in [0, 1]."""
    return (pixels - np.float32(mean_std[0])) / np.float32(mean_std[1])


def read_masks(
    way: str, options: ConfigDict, size: int, classes: tuple[str, ...] | None = None
) -> Bool[np.ndarray, "classes size size"]:
    """Return the masks that train.<way>.maps names, a workdir or a file, in the order of the classes.

    options: config.train.<way>. A file of several shares must contain its share; the masks of a single share are used
    as they are. Scores in a pickle are cut at that share by the published threshold. classes: display names of the
    data's classes; None = not compared. Raises InputError for maps that are missing, of another size or share, or of
    other classes.
    """
    maps, where = published_maps.read_maps(options.maps, classes=None, shares=(options.share,)), f"train.{way}.maps"
    height, width = maps.masks.shape[-2:]
    if (height, width) != (size, size):
        raise InputError(f"{where}: {options.maps} has {height} x {width} pixels; expected data.image_size, {size}")
    # Published files number their classes.
    if classes is not None and (maps.classes != classes if maps.named else len(maps.classes) != len(classes)):
        found, wanted = (f"{len(names)} classes {reprlib.repr(list(names))}" for names in (maps.classes, classes))
        raise InputError(f"{where}: {options.maps} has the {found}; expected the data's {wanted}")
    share = maps.nearest(options.share)
    if len(maps.shares) > 1 and abs(share - options.share) > 1e-9:
        available = ", ".join(f"{share:g}" for share in maps.shares)
        raise InputError(f"train.{way}.share: got {options.share:g}; expected a share of {options.maps}: {available}")
    return np.array(maps.at(share))
