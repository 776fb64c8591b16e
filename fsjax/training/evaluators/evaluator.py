"""The interface of a training evaluator and its context, and loss and accuracy on the validation part."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict
from scipy.special import log_softmax

from fsjax.data.dataset import Dataset
from fsjax.evaluation.predict import make_predictor
from fsjax.models.network import Network
from fsjax.runtime import parallel
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class EvaluatorContext:
    """The training as an evaluator sees it.

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


class ValidationEvaluator:
    """Yields validation_loss, the mean cross-entropy in nats, and validation_accuracy.

    Yields nothing without a validation split. Processes share the images, and each sums the losses of all images in the
    order of the set. So the values are the same bits for any number of processes and devices.
    """

    def __init__(self, context: EvaluatorContext):
        self.predict = make_predictor(context.network.apply, *context.mean_std)
        self.dataset = context.dataset("validation") if context.config.data.validation_share else None

    def run(self, step: int, variables: PyTree) -> Iterator[tuple[str, float]]:
        """Yield loss and accuracy of the network with these variables."""
        if self.dataset is None:
            return
        losses, correct = np.full(len(self.dataset), np.nan), np.zeros(1, np.int64)
        for indices, logits in self.predict(variables, self.dataset):
            labels = self.dataset.labels[indices]
            with np.errstate(invalid="ignore"):  # a logit that is not finite gives NaN
                losses[indices] = -log_softmax(logits.astype(np.float64), axis=-1)[np.arange(len(labels)), labels]
            correct += np.count_nonzero(logits.argmax(-1) == labels)
        yield "validation_loss", float(parallel.merge(losses).mean())
        yield "validation_accuracy", int(parallel.total(correct)[0]) / len(self.dataset)
