"""Loss and accuracy on the validation part, called by the training loop."""

from collections.abc import Callable, Iterator

import numpy as np
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.models.network import Network
from fsjax.predict import make_predictor


def make(network: Network, dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray], config: ConfigDict) -> Callable:
    """Returns evaluate(variables), which yields validation_loss (mean cross-entropy, nats) and validation_accuracy."""
    predict = make_predictor(network.apply, *mean_std)

    def evaluate(variables: PyTree) -> Iterator[tuple[str, float]]:
        model = {name: variables[name] for name in ("params", "batch_stats")}
        loss = correct = 0.0
        for indices, logits in predict(model, dataset):
            labels = dataset.labels[indices]
            loss += float(optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum())
            correct += float((logits.argmax(-1) == labels).sum())
        yield "validation_loss", loss / len(dataset)
        yield "validation_accuracy", correct / len(dataset)

    return evaluate
