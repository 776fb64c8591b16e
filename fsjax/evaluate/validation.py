"""Loss and accuracy on the validation part, called by the training loop."""

from collections.abc import Callable, Iterator

import optax
from jaxtyping import PyTree

from fsjax.evaluate.watched import Watched
from fsjax.predict import make_predictor


def make(watched: Watched) -> Callable:
    """Returns evaluate(step, variables), which yields validation_loss (mean cross-entropy, nats) and its accuracy.

    Where no part of the training images is kept for validation, it yields nothing.
    """
    if not watched.config.data.validation_share:
        return lambda step, variables: iter(())
    predict, dataset = make_predictor(watched.network.apply, *watched.mean_std), watched.dataset("validation")

    def evaluate(step: int, variables: PyTree) -> Iterator[tuple[str, float]]:
        model = {name: variables[name] for name in ("params", "batch_stats")}
        loss = correct = 0.0
        for indices, logits in predict(model, dataset):
            labels = dataset.labels[indices]
            loss += float(optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum())
            correct += float((logits.argmax(-1) == labels).sum())
        yield "validation_loss", loss / len(dataset)
        yield "validation_accuracy", correct / len(dataset)

    return evaluate
