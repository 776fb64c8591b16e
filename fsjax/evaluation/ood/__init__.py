"""Out of distribution: a model and its maps on other images, and on images that an attack has changed."""

from fsjax.evaluation.ood.accuracies import accuracies
from fsjax.evaluation.ood.judging import check, run

__all__ = ["accuracies", "check", "run"]
