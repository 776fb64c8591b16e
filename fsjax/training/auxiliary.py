"""Auxiliary BatchNorm: parameters and statistics of their own for copies of the images (AdvProp; AFA)."""

from typing import Any

from jaxtyping import PyTree


def batchnorms(variables: dict[str, Any]) -> dict[str, Any] | None:
    """Return a network's variables of its BatchNorms alone, None where it has none."""
    statistics = variables["batch_stats"]
    return {"params": _below(statistics, variables["params"]), "batch_stats": statistics} if statistics else None


def overlay(params: PyTree, others: PyTree) -> PyTree:
    """Return params with some of them replaced by `others`, whose dicts have a part of the names."""
    if not isinstance(others, dict):
        return others
    return {**params, **{name: overlay(params[name], other) for name, other in others.items()}}


def _below(statistics: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the params of the modules that have statistics: their arrays stand side by side under one name."""
    if not all(isinstance(value, dict) for value in statistics.values()):
        return params
    return {name: _below(below, params[name]) for name, below in statistics.items()}
