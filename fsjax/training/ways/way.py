"""What a way of training is: a change of the images of a step."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from fsjax.runtime.config_fields import Table
from fsjax.runtime.storage import Path

Keys = Key[Array, " n"]
Labels = Int[Array, " n"]
Images = Float[Array, "n height width 3"]
# (keys, labels, normalised images) -> images, inside pmap over parallel.AXIS; jit-able
Transform = Callable[[Keys, Labels, Images], Images]


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


@dataclasses.dataclass(frozen=True)
class Way:
    """A way of training.

    Its draws depend on the keys of images alone, which come from seed, epoch and image: never on devices, processes or
    a restart.

    Attributes:
      fields: of config.train.<name>.
      make: Setting -> what changes the images; raises InputError for files that do not fit the data.
      check: (config.train, side of the images) raises InputError for what cannot be used, before anything runs.
      files: (config.train, workdir) -> field -> the file that it reads.
    """

    fields: Table
    make: Callable[[Setting], Transform]
    check: Callable[[ConfigDict, int], None] = lambda options, size: None
    files: Callable[[ConfigDict, Path], dict[str, Path]] = lambda options, directory: {}
