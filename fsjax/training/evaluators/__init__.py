"""What is measured on a classifier, during training and with its maps."""

from collections.abc import Callable

from fsjax.runtime.errors import unknown
from fsjax.training.evaluators import dynamics, validation

# name -> make(watched), which returns evaluate(step, variables) -> iterator of (name, value).
TRAINING_EVALUATORS = {"validation": validation.make, "dynamics": dynamics.make}


def training_evaluators(names: str) -> list[Callable]:
    """The evaluators of a comma-separated list.

    Raises:
      InputError: an unknown one.
    """
    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if name not in TRAINING_EVALUATORS:
            raise unknown("train.evaluators", "evaluator", name, TRAINING_EVALUATORS)
    return [TRAINING_EVALUATORS[name] for name in wanted]
