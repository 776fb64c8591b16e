"""F1 and relative confusion along a training, over seeds (METHOD 5, 6): pure functions over arrays."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from fsjax.evaluation import bands
from fsjax.evaluation.statistics import numbers

# F1 from which a class counts as beginning to be recognised, and as learned.
THRESHOLDS = (0.5, 0.8)


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """What trainings that differ in their seed alone made of the copies of a test set.

    Attributes:
      classes: display names.
      copies: names of fsjax.evaluation.bands, the original among them.
      seeds: one a training.
      steps: of the evaluations, ascending.
      confusion: counts by true (rows) and predicted class; every class has an image.
    """

    classes: tuple[str, ...]
    copies: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: Int[np.ndarray, " evaluations"]
    confusion: Int[np.ndarray, "seeds evaluations copies classes classes"]

    @property
    def original(self) -> int:
        """Which copy is the original."""
        return self.copies.index(bands.ORIGINAL)

    @property
    def f1(self) -> Float[np.ndarray, "seeds evaluations copies classes"]:
        """In [0, 1]."""
        return f1(self.confusion)

    @property
    def relative_confusion(self) -> Float[np.ndarray, "seeds evaluations copies classes classes"]:
        """In per cent of each class's images."""
        return relative_confusion(self.confusion, self.original)

    def first_reached(self, threshold: float) -> Float[np.ndarray, "seeds copies classes"]:
        """The step at which a class's F1 first is at least the threshold; NaN where it never is."""
        return np.stack([first_reached(one, threshold, self.steps) for one in self.f1])

    @property
    def learned(self) -> int | None:
        """The evaluation from which on the mean F1 of the original, over seeds and classes, is at least 0.8."""
        below = np.flatnonzero(self.f1[:, :, self.original].mean((0, 2)) < THRESHOLDS[-1])
        first = int(below.max()) + 1 if len(below) else 0
        return first if first < len(self.steps) else None

    @property
    def shown(self) -> list[int]:
        """The evaluations whose relative confusion tells most: as soon as the original is learned, and the last."""
        last = len(self.steps) - 1
        return [last] if self.learned in (None, last) else [self.learned, last]

    def summary(self) -> dict:
        """As JSON values: first steps by seed, F1 at the end and relative confusion by mean and spread over seeds."""
        confused = self.relative_confusion
        return {
            "classes": list(self.classes),
            "keep": list(self.copies),
            "seeds": list(self.seeds),
            "steps": self.steps.tolist(),
            "images": self.confusion[0, 0, 0].sum(-1).tolist(),
            "first_step": {
                f"{threshold:g}": {
                    copy: dict(zip(self.classes, numbers(of_copy.T), strict=True))
                    for copy, of_copy in zip(self.copies, np.moveaxis(self.first_reached(threshold), 1, 0), strict=True)
                }
                for threshold in THRESHOLDS
            },
            "f1": self._by_copy(self.f1[:, -1]),
            "relative_confusion": {
                str(self.steps[evaluation]): self._by_copy(confused[:, evaluation]) for evaluation in self.shown
            },
        }

    def _by_copy(self, values: Float[np.ndarray, "seeds copies ..."]) -> dict:
        both = zip(self.copies, values.mean(0), spread(values), strict=True)
        return {copy: {"mean": numbers(mean), "spread": numbers(over)} for copy, mean, over in both}


def f1(confusion: Int[np.ndarray, "*batch classes classes"]) -> Float[np.ndarray, "*batch classes"]:
    """F1 of each class, in [0, 1], of counts by true (rows) and predicted class; every class has an image."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return 2 * right / (confusion.sum(-1) + confusion.sum(-2))


def relative_confusion(
    confusion: Int[np.ndarray, "*batch copies classes classes"], original: int
) -> Float[np.ndarray, "*batch copies classes classes"]:
    """D(i,j) = 100 (pred_copy(i,j) - pred_original(i,j)) / N_i of every copy, in per cent of class i's images.

    Source: Wang et al., ICCV 2023; METHOD 5. Rows sum to 0: what leaves the diagonal turns up elsewhere.

    Args:
      confusion: counts by true (rows) and predicted class; every class has an image.
      original: which of the copies is the original.
    """
    reference = confusion[..., original : original + 1, :, :]
    return 100 * (confusion - reference) / reference.sum(-1, keepdims=True)


def first_reached(
    scores: Float[np.ndarray, " evaluations *shape"], threshold: float, steps: Int[np.ndarray, " evaluations"]
) -> Float[np.ndarray, "*shape"]:
    """The step of the first evaluation at which a score is at least the threshold; NaN where it never is."""
    reached = scores >= threshold
    return np.where(reached.any(0), steps[reached.argmax(0)], np.nan)


def spread(values: Float[np.ndarray, " seeds *shape"]) -> Float[np.ndarray, "*shape"]:
    """Standard deviation over seeds (n - 1); NaN for one seed."""
    return values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
