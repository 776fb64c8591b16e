"""The interface of a training evaluator, and its context."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.models.network import Network
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class EvaluatorContext:
    """Context passed to training evaluators.

    `mean_std` normalises pixels in [0, 1], per channel. `dataset` returns the images of the split 'train', 'validation'
    or 'test'. `directory` is the workdir.
    """

    network: Network
    mean_std: tuple[np.ndarray, np.ndarray]
    config: ConfigDict
    dataset: Callable[[str], Dataset]
    directory: Path


@runtime_checkable
class Evaluator(Protocol):
    """Measures a network while it trains; made with an EvaluatorContext."""

    def run(self, step: int, variables: PyTree) -> Iterator[tuple[str, float]]:
        """Yield (name, value) of the network with these variables, after `step` steps. Collective."""
