"""Confusion matrix, accuracy, TPR and FPR of the test images as they are."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.rates import class_rates
from fsjax.evaluation.results import Unfiltered
from fsjax.runtime import parallel


def evaluate_unfiltered(classifier: Model, test: Dataset) -> Unfiltered:
    """Evaluate the classifier on the test images as they are. Collective: every process must call this."""
    classes = len(test.classes)
    predict = make_predictor(classifier.apply, *classifier.mean_std)
    matrix = parallel.total(confusion_matrix(predict(classifier.params, test), test.labels, classes))
    rates = class_rates(matrix.T, np.bincount(test.labels, minlength=classes))
    return Unfiltered(float(np.trace(matrix) / len(test)), rates.tpr, rates.fpr, matrix)


def confusion_matrix(
    predictions: Iterable[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n outputs"]]],
    labels: Int[np.ndarray, " images"],
    classes: int,
) -> Int[np.ndarray, "classes classes"]:
    """Count images by true class (rows) and predicted class (columns).

    Args:
      predictions: batches of (indices, logits).
      labels: true class of each image.
      classes: how many there are; images predicted as an output beyond them are in no column.
    """
    counts = np.zeros((classes, classes), np.int64)
    for indices, logits in predictions:
        predicted = logits.argmax(-1)
        known = predicted < classes
        np.add.at(counts, (labels[indices][known], predicted[known]), 1)
    return counts
