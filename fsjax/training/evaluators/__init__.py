"""Evaluators that the training loop calls, by name."""

from collections.abc import Callable

from fsjax.runtime import config_fields
from fsjax.training.evaluators import dynamics
from fsjax.training.evaluators.evaluator import Evaluator, EvaluatorContext, ValidationEvaluator

EVALUATORS: dict[str, Callable[[EvaluatorContext], Evaluator]] = {
    "validation": ValidationEvaluator,
    "dynamics": dynamics.DynamicsEvaluator,
}


def parse(names: str) -> list[Callable[[EvaluatorContext], Evaluator]]:
    """Return the evaluators of a comma-separated list; raise InputError for an unknown or repeated name."""
    chosen = config_fields.names("train.evaluators", names, EVALUATORS, each="evaluator")
    return [EVALUATORS[name] for name in chosen]
