"""The interface of a stage, and the config fields that its result depends on."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from fsjax import search
from fsjax.experiment.workspace import Workspace
from fsjax.models.source import model_source
from fsjax.runtime import config_fields
from fsjax.runtime.storage import Path
from fsjax.training import ways


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of an experiment.

    Attributes:
      name: what config.stages calls it.
      fields: prefixes of the config fields that its result depends on, beyond those of the stages it needs.
      outputs: workspace -> the files that exist once it is done.
      run: computes and writes them.
      needs: stages whose results it reads.
      check: raises InputError for a field that it cannot use, before anything runs; reads no result.
      by_method: whether each search method has a result of its own.
      reads: workspace -> further files that its result depends on.
      shown: prefixes of fields that may change in a workdir: the new result replaces the one before.
      partial: config -> the folder of the workdir with its partial results, which only the same settings may continue;
        None = it saves none.
      splits: config -> the splits of the data that it reads, of 'train', 'validation', 'test'.

    Examples:
      >>> from fsjax.experiment.stages import STAGES
      >>> isinstance(STAGES["evaluate"], Stage), [stage.name for stage in STAGES["evaluate"].with_needs()]
      (True, ['train', 'search', 'evaluate'])
    """

    name: str
    fields: tuple[str, ...]
    outputs: Callable[[Workspace], list[Path]]
    run: Callable[[Workspace], None]
    needs: tuple["Stage", ...] = ()
    check: Callable[[ConfigDict], None] = lambda config: None
    by_method: bool = False
    reads: Callable[[Workspace], list[Path]] = lambda workspace: []
    shown: tuple[str, ...] = ()
    partial: Callable[[ConfigDict], str | None] = lambda config: None
    splits: Callable[[ConfigDict], tuple[str, ...]] = lambda config: ()

    def with_needs(self) -> list["Stage"]:
        """Return this stage after all that it needs, directly or not, each once."""
        needed = {stage.name: stage for need in self.needs for stage in need.with_needs()}
        return [*needed.values(), self]


def fingerprint(config: ConfigDict, stage: Stage) -> dict[str, Any]:
    """Return the config fields that a stage's result depends on: dotted name -> JSON value."""
    prefixes = [prefix for needed in stage.with_needs() for prefix in needed.fields]
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in config_fields.flat(config)
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
        and _changes_results(name, config)
    }


def _changes_results(name: str, config: ConfigDict) -> bool:
    if name in ("data.cache_gib", "model.check"):
        return False
    group, _, field = name.partition(".")
    if group == "train":
        return model_source(config).trains and ways.used(field, config.train)
    return group != "search" or search.used(field, config.search.method)
