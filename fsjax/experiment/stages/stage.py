"""What a stage is, and the config fields that its result rests on."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from fsjax import search
from fsjax.experiment.run import Run
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of an experiment.

    Attributes:
      name: what config.stages calls it.
      fields: prefixes of the config fields that its result depends on, beyond those of the stages it needs.
      outputs: run -> files that are there when it is done.
      run: does it.
      needs: stages whose results it reads.
      check: raises InputError for a field that it cannot use, before anything is run; touches no result.
      by_method: whether there is a result for each search method.
      reads: run -> files from outside the stages it needs that its result depends on.
      shown: prefixes of those fields whose change is no other experiment: the new result replaces the one before.
      partial: config -> whether it keeps partial results, from which only the same settings may go on.
    """

    name: str
    fields: tuple[str, ...]
    outputs: Callable[[Run], list[Path]]
    run: Callable[[Run], None]
    needs: tuple["Stage", ...] = ()
    check: Callable[[ConfigDict], None] = lambda config: None
    by_method: bool = False
    reads: Callable[[Run], list[Path]] = lambda run: []
    shown: tuple[str, ...] = ()
    partial: Callable[[ConfigDict], bool] = lambda config: False

    def with_needs(self) -> list["Stage"]:
        """The stages that it needs, and those that they need, each once and before what needs it; itself last."""
        found = {stage.name: stage for needed in self.needs for stage in needed.with_needs()}
        return [*found.values(), self]


def fingerprint(config: ConfigDict, stage: Stage) -> dict[str, Any]:
    """The config fields that a stage's result depends on, dotted name -> value."""
    prefixes = [prefix for one in stage.with_needs() for prefix in one.fields]
    return {
        dotted: list(value) if isinstance(value, tuple) else value
        for dotted, value in _flatten(config.to_dict()).items()
        if any(dotted == prefix or dotted.startswith(prefix + ".") for prefix in prefixes) and _matters(dotted, config)
    }


def _matters(dotted: str, config: ConfigDict) -> bool:
    prefix, _, field = dotted.partition(".")
    if prefix == "train":
        return not config.model.weights and (bool(config.train.dfmx.maps) or not field.startswith("dfmx."))
    return dotted not in _NOT_RESULTS and (prefix != "search" or search.used(field, config.search.method))


# Fields of `data` that change how images are read and not which.
_NOT_RESULTS = ("data.cache_gib",)


def _flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
