"""Loss and accuracy on the validation part, called by the training loop."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int, PyTree
from scipy.special import log_softmax

from fsjax.engine import sharing
from fsjax.evaluation.predict import make_predictor
from fsjax.training.evaluators.context import Watched


def make(watched: Watched) -> Callable:
    """Returns evaluate(step, variables), which yields validation_loss (mean cross-entropy, nats) and its accuracy.

    Processes share the images. Every image's loss reaches all of them, which add up in the order of the set, so the
    values are the same bits everywhere and for any number of processes and devices. Where no part of the training
    images is kept for validation, it yields nothing.
    """
    if not watched.config.data.validation_share:
        return lambda step, variables: iter(())
    predict, dataset = make_predictor(watched.network.apply, *watched.mean_std), watched.dataset("validation")

    def evaluate(step: int, variables: PyTree) -> Iterator[tuple[str, float]]:
        model = {name: variables[name] for name in ("params", "batch_stats")}
        losses, correct = np.full(len(dataset), np.nan), np.zeros(1, np.int64)
        for indices, logits in predict(model, dataset):
            labels = dataset.labels[indices]
            losses[indices] = cross_entropy(logits, labels)
            correct += np.count_nonzero(logits.argmax(-1) == labels)
        yield "validation_loss", float(sharing.merge(losses).mean())
        yield "validation_accuracy", int(sharing.total(correct)[0]) / len(dataset)

    return evaluate


def cross_entropy(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Of each image to its label, in nats and float64; NaN where a logit is not finite."""
    with np.errstate(invalid="ignore"):
        return -log_softmax(logits.astype(np.float64), axis=-1)[np.arange(len(labels)), labels]
