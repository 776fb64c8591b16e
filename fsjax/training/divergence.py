"""Notice a training that diverges: its loss stays far above that of a classifier that guesses."""

import collections
import logging
import math
from collections.abc import Iterable

import numpy as np

from fsjax.runtime.errors import InputError

logger = logging.getLogger(__name__)

WHAT_TO_CHANGE = "lower train.learning_rate or lengthen train.warmup_steps, with a new --workdir"
# Steps whose median counts. An AlexNet that recovers has losses of 30 ln C, but a median of 4 ln C.
_STEPS = 20
# Multiple of ln C, the loss of a classifier that guesses among C classes.
_FACTOR = 10.0


class DivergenceWatch:
    """Warn once, in the log, when the median loss of the last 20 steps exceeds 10 ln C, of C classes.

    Examples:
      >>> watch = DivergenceWatch(classes=10)
      >>> watch.add([9000.0] * 3 + [1.2] * 17, step=20)  # a hard start
      False
      >>> watch.add([23527.0] * 20, step=40)
      True
    """

    def __init__(self, classes: int):
        self._losses: collections.deque[float] = collections.deque(maxlen=_STEPS)
        self._guessing, self._warned = math.log(max(classes, 2)), False

    def add(self, losses: Iterable[float], step: int) -> bool:
        """Take the losses of the next steps, the last of which is `step`; return whether that is when it warns."""
        self._losses.extend(losses)
        median = float(np.median(self._losses)) if len(self._losses) == _STEPS else 0.0
        if self._warned or median <= _FACTOR * self._guessing:
            return False
        self._warned = True
        logger.warning(
            "train: the loss is %.4g (median of %d steps) at step %d, and guessing has %.2f: the training diverges; %s",
            median,
            _STEPS,
            step,
            self._guessing,
            WHAT_TO_CHANGE,
        )
        return True


def not_finite(cause: str) -> InputError:
    """Return the error for a loss or weights that are not finite."""
    return InputError(f"train: {cause}; the last checkpoint is kept; {WHAT_TO_CHANGE}")
