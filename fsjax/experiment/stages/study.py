"""The stage study: a run for each model, way of training and seed, and tables that compare them."""

import ast
import contextlib
import copy
import itertools
import logging
import pathlib
import re
from collections.abc import Iterator

from ml_collections import ConfigDict

from fsjax import models
from fsjax.experiment import pipeline, study_tables
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import STAGES, dynamics, probe
from fsjax.experiment.study_tables import Cell
from fsjax.runtime import config_fields, parallel, storage
from fsjax.runtime.errors import InputError, expect
from fsjax.runtime.storage import Path
from fsjax.training import settings, ways

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raise InputError for an impossible run of the grid, before the first run starts."""
    grid = cells(config, pathlib.Path())
    workdirs = {str(cell.directory) for cell in grid}
    for cell in grid:
        if cell.seed != grid[0].seed:
            continue  # no error depends on the seed
        if cell.config.train.dfmx.maps in workdirs:
            cell.config.train.dfmx.maps = ""  # an earlier run of the grid writes these maps
        with _named(cell):
            complete = {"train", "search", "evaluate"} <= set(pipeline.check(cell.config, STAGES))
            expect(complete, "study.stages", config.study.stages, "train, search, evaluate")


def run_study(config: ConfigDict, directory: Path) -> None:
    """Complete the unfinished runs, and write the tables in study/ and report/study.html.

    An InputError begins with the name of the failing run.
    """
    grid = cells(config, directory)
    for number, cell in enumerate(grid, 1):
        logger.info("study: run %d of %d, %s", number, len(grid), cell.directory.name)
        with _named(cell):
            pipeline.run(cell.config, cell.directory, STAGES)
    parallel.decide(lambda: study_tables.write(config, directory, grid))


@contextlib.contextmanager
def _named(cell: Cell) -> Iterator[None]:
    """Put the name of a run in front of its InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{cell.directory.name}: {error}") from error


def cells(config: ConfigDict, directory: Path) -> list[Cell]:
    """Return the runs of config.study, each with a folder in the study's directory.

    config.variants maps a name to fields: 'field=value;field=value', where {NAME} stands for the workdir of an earlier
    variant with the same model and seed. A variant that grafts what probes find also runs the stage probe. Raises
    InputError for an unknown model, variant, field or seed, or a bad value.
    """
    names = config_fields.names("study.models", config.study.models, models.MODELS, each="model")
    variants = config_fields.names("study.variants", config.study.variants, config.variants, each="variant")
    if not names or not variants:
        raise InputError("study.models, study.variants: got nothing; expected names, separated by commas")
    for index, name in enumerate(variants):
        if later := set(re.findall(r"\{(\w+)\}", config.variants[name])) - {*variants[:index]}:
            raise InputError(f"variants.{name}: needs {', '.join(later)}; expected it earlier in study.variants")
    grid = itertools.product(names, variants, dynamics.seeds("study.seeds", config.study.seeds))
    return [_cell(config, directory, *place, variants) for place in grid]


def _cell(config: ConfigDict, directory: Path, model: str, variant: str, seed: int, variants: tuple[str, ...]) -> Cell:
    run = copy.deepcopy(config)
    run.model.name, run.seed, run.stages = model, seed, config.study.stages
    workdirs = {name: str(directory / f"{model}-{name}-{seed}") for name in variants}
    given = set()
    for entry in filter(None, (part.strip() for part in config.variants[variant].split(";"))):
        field, equals, value = (part.strip() for part in entry.partition("="))
        expect(equals == "=", f"variants.{variant}", entry, "'field=value'")
        _set(run, field, re.sub(r"\{(\w+)\}", lambda match: workdirs[match[1]], value), variant)
        given.add(field)
    settings.choose_length(run, given)
    if ways.use_probes(run.train):
        run.stages = f"{probe.STAGE.name},{run.stages}"
    with run.unlocked():
        del run.study, run.variants
    return Cell(model, variant, seed, storage.path(workdirs[variant]), run)


def _set(config: ConfigDict, field: str, text: str, variant: str) -> None:
    """Set a dotted field to a text, parsed as the field's type."""
    values = dict(config_fields.flat(config))
    expect(field in values, f"variants.{variant}", field, "a field of the config")
    try:
        value = text if isinstance(values[field], str) else ast.literal_eval(text)
        config.update_from_flattened_dict({field: value})
    except (ValueError, SyntaxError, TypeError) as error:
        kind = type(values[field]).__name__
        raise InputError(f"variants.{variant}: {field}: got {text}; expected the field's type, {kind}") from error


def _results(workspace: Workspace) -> list[Path]:
    """Return the results of the runs so far: a change in any file repeats the stage."""
    results = [cell.directory / "evaluation.json" for cell in cells(workspace.config, workspace.directory)]
    return [file for file in results if file.exists()]


# Any of these may change: each run guards its own results, and the tables take no time.
_FIELDS = ("study", "variants", "data", "train", "search", "evaluate", "report", "ood")

STAGE = Stage(
    name="study",
    fields=_FIELDS,
    shown=_FIELDS,
    check=check,
    outputs=lambda workspace: [workspace.directory / "report" / "study.html"],
    run=lambda workspace: run_study(workspace.config, workspace.directory),
    reads=_results,
)
