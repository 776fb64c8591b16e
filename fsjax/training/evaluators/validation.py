"""Loss and accuracy on the validation part."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import PyTree
from scipy.special import log_softmax

from fsjax.evaluation.predict import make_predictor
from fsjax.runtime import parallel
from fsjax.training.evaluators.evaluator import EvaluatorContext


class ValidationEvaluator:
    """Yields validation_loss, the mean cross-entropy in nats, and validation_accuracy.

    Yields nothing without a validation split. Processes share the images, and all of them sum the losses of all images
    in the order of the set. So the values are the same bits for any number of processes and devices.
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
