"""Out of distribution: a model and its maps on other images, and on corrupted and attacked test images."""

from fsjax.evaluation.ood.judging import accuracies, check, run

__all__ = ["accuracies", "check", "run"]
