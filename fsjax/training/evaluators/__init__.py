"""Evaluators that the training loop calls, by name."""

from collections.abc import Callable

from fsjax.runtime.errors import unknown
from fsjax.training.evaluators import dynamics, validation
from fsjax.training.evaluators.evaluator import Evaluator, EvaluatorContext

EVALUATORS: dict[str, Callable[[EvaluatorContext], Evaluator]] = {
    "validation": validation.ValidationEvaluator,
    "dynamics": dynamics.DynamicsEvaluator,
}


def parse(names: str) -> list[Callable[[EvaluatorContext], Evaluator]]:
    """Return the evaluators of a comma-separated list; raise InputError for an unknown one."""
    chosen = [name for name in names.split(",") if name]
    for name in chosen:
        if name not in EVALUATORS:
            raise unknown("train.evaluators", name, EVALUATORS)
    return [EVALUATORS[name] for name in chosen]
