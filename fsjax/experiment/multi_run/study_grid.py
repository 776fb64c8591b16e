"""The grid of a study: every model with every training variant and every seed."""

import ast
import copy
import dataclasses
import re

from ml_collections import ConfigDict

from fsjax import models
from fsjax.experiment.multi_run import probe
from fsjax.runtime import config_fields, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training import settings, ways


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a study."""

    model: str
    variant: str  # the way of training
    seed: int
    directory: Path
    config: ConfigDict

    @property
    def name(self) -> str:
        """Name of the run and of its workdir."""
        return self.directory.name


def cells(config: ConfigDict, directory: Path) -> list[Cell]:
    """Return the runs of config.study, each with a folder in the study's directory.

    config.variants holds, by name, the fields of a variant: 'field=value;field=value', in which {NAME} is the workdir
    of another variant of the same model and seed. A variant comes after those whose workdir it names. One that grafts
    what probes find has the stage probe as well.

    Raises:
      InputError: a model, variant, field or seed that cannot be used.
    """
    study = config.study
    names = _split(study.models, "study.models")
    for name in names:
        if name not in models.MODELS:
            raise InputError(f"study.models: got {name!r}; expected {', '.join(sorted(models.MODELS))}")
    variants = _ordered(_split(study.variants, "study.variants"), config.variants)
    seeds = _split(study.seeds, "study.seeds")
    if bad := [seed for seed in seeds if not seed.isdecimal()]:
        raise InputError(f"study.seeds: got {bad[0]!r}; expected whole numbers from 0, separated by commas")
    return [
        _cell(config, directory, model, variant, int(seed), variants)
        for model in names
        for variant in variants
        for seed in seeds
    ]


def _split(text: str, field: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(f"{field}: got {text!r}; expected one or more different ones, separated by commas")
    return names


def _ordered(wanted: list[str], known: ConfigDict) -> list[str]:
    """Return the wanted variants, each after those whose workdir it names."""
    ordered: list[str] = []

    def add(name: str, before: tuple[str, ...]) -> None:
        if name not in known:
            raise InputError(f"study.variants: got {name!r}; expected {', '.join(sorted(known))}")
        if name in before:
            raise InputError(f"variants.{name}: needs itself, by {' and '.join(before)}; expected another variant")
        for needed in re.findall(r"\{(\w+)\}", known[name]):
            if needed not in wanted:
                raise InputError(f"variants.{name}: needs the variant {needed!r}; expected it in study.variants")
            add(needed, (*before, name))
        if name not in ordered:
            ordered.append(name)

    for name in wanted:
        add(name, ())
    return ordered


def _cell(config: ConfigDict, directory: Path, model: str, variant: str, seed: int, variants: list[str]) -> Cell:
    run = copy.deepcopy(config)
    run.model.name, run.seed, run.stages = model, seed, config.study.stages
    workdirs = {name: str(directory / f"{model}-{name}-{seed}") for name in variants}
    given = set()
    for entry in filter(None, (part.strip() for part in config.variants[variant].split(";"))):
        field, equals, value = (part.strip() for part in entry.partition("="))
        if not equals:
            raise InputError(f"variants.{variant}: got {entry!r}; expected 'field=value'")
        _set(run, field, re.sub(r"\{(\w+)\}", lambda match: workdirs[match[1]], value), variant)
        given.add(field)
    settings.choose_length(run, given)
    if ways.use_probes(run.train):
        run.stages = f"{probe.STAGE.name},{run.stages}"
    with run.unlocked():
        del run.study, run.variants
    return Cell(model, variant, seed, storage.path(workdirs[variant]), run)


def _set(config: ConfigDict, field: str, text: str, variant: str) -> None:
    """Set a dotted field to a text, read as the field's type."""
    values = dict(config_fields.flat(config))
    if field not in values:
        raise InputError(f"variants.{variant}: got {field!r}; expected a field of the config")
    try:
        value = text if isinstance(values[field], str) else ast.literal_eval(text)
        config.update_from_flattened_dict({field: value})
    except (ValueError, SyntaxError, TypeError) as error:
        kind = type(values[field]).__name__
        raise InputError(f"variants.{variant}: {field}: got {text}; expected the field's type, {kind}") from error
