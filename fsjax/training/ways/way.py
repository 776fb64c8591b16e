"""What a way of training is: a change of the images of a step, or copies that are trained on beside them."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

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
    """Copies of a step's images: the loss is the mean of the cross-entropies of the images and of each copy.

    Attributes:
      make: (keys, labels, normalised images, gradient) -> copies, inside pmap over parallel.AXIS. The images are those
        that the ways before have changed. No gradient flows through the copies.
      auxiliary: whether the copies go through BatchNorms with parameters and statistics of their own, which the trained
        classifier does not have; all such copies share them.
    """

    make: Callable[[Keys, Labels, Images, Gradient], tuple[Images, ...]]
    auxiliary: bool = False


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a way is made for.

    Attributes:
      options: config.train.
      size: side of the images.
      classes: display names of the data's classes.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      directory: the workdir.
    """

    options: ConfigDict
    size: int
    classes: tuple[str, ...]
    mean_std: tuple[np.ndarray, np.ndarray]
    directory: Path


def check_probability(field: str, value: float) -> None:
    """Raise InputError for a field of config.train that is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise InputError(f"train.{field}: got {value:g}; expected 0 to 1")


def to_pixels(images: Images, mean_std: tuple[np.ndarray, np.ndarray]) -> Images:
    """Return the pixels, in [0, 1], of normalised images; `from_pixels` undoes it."""
    mean, std = (jnp.asarray(value, jnp.float32) for value in mean_std)
    return images * std + mean


def from_pixels(pixels: Images, mean_std: tuple[np.ndarray, np.ndarray]) -> Images:
    """Return pixels in [0, 1] normalised."""
    mean, std = (jnp.asarray(value, jnp.float32) for value in mean_std)
    return (pixels - mean) / std


@dataclasses.dataclass(frozen=True)
class Way:
    """A way of training.

    Its draws depend on the keys of images alone, which come from seed, epoch and image: never on devices, processes or
    a restart.

    Attributes:
      fields: of config.train.<name>.
      make: Setting -> what changes or copies the images; raises InputError for files that do not fit the data.
      check: (config.train, side of the images) raises InputError for what cannot be used, before anything runs.
      files: (config.train, workdir) -> field -> the file that it reads.
      passes: that it adds to a step, each as long as a step without it.
      start: (config.train, workdir) -> the workdir of a run that the training goes on from, at its last step; None =
        random weights.
    """

    fields: Table
    make: Callable[[Setting], Transform | Copies]
    check: Callable[[ConfigDict, int], None] = lambda options, size: None
    files: Callable[[ConfigDict, Path], dict[str, Path]] = lambda options, directory: {}
    passes: int = 0
    start: Callable[[ConfigDict, Path], Path | None] = lambda options, directory: None
