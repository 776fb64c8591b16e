"""What an evaluator that training calls may look at."""

import dataclasses
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.models.network import Network
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Watched:
    """A network under training.

    Attributes:
      network: the classifier.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      config: of the run.
      dataset: the images of a split: 'train', 'validation' or 'test'.
      directory: the workdir.
    """

    network: Network
    mean_std: tuple[np.ndarray, np.ndarray]
    config: ConfigDict
    dataset: Callable[[str], Dataset]
    directory: Path
