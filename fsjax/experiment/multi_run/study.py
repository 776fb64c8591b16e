"""The stage study: a run for each model, way of training and seed, and tables that compare them."""

import logging
import pathlib
import time

from ml_collections import ConfigDict

from fsjax.experiment import pipeline
from fsjax.experiment.multi_run import dynamics, probe, study_page
from fsjax.experiment.multi_run.study_grid import Cell, cells
from fsjax.experiment.multi_run.study_outcomes import read
from fsjax.experiment.multi_run.study_tables import as_csv, as_latex, as_markdown, by_class, groups, summary
from fsjax.experiment.stages import STAGES as STAGES_OF_ONE_RUN
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

# What config.study.stages may name.
_STAGES = {probe.STAGE.name: probe.STAGE, **STAGES_OF_ONE_RUN, dynamics.STAGE.name: dynamics.STAGE}


def check(config: ConfigDict) -> None:
    """Raise InputError for a run of the grid that cannot be made, before the first one starts."""
    grid = cells(config, pathlib.Path())
    workdirs = {str(cell.directory) for cell in grid}
    for cell in grid:
        if cell.seed != grid[0].seed:
            continue  # no error depends on the seed
        if cell.config.train.dfmx.maps in workdirs:
            cell.config.train.dfmx.maps = ""  # an earlier run will have written these maps
        try:
            names = pipeline.check(cell.config, _STAGES)
            if not {"train", "search", "evaluate"} <= set(names):
                raise InputError(
                    f"study.stages: got {config.study.stages!r}; expected train, search, evaluate and others"
                )
        except InputError as error:
            raise InputError(f"{cell.name}: {error}") from error


def run_study(config: ConfigDict, directory: Path) -> None:
    """Run what is not done yet, and write study/*.csv, tables.md and tables.tex, and report/study.html.

    An InputError begins with the name of the run that cannot be made.
    """
    grid = cells(config, directory)
    started = time.monotonic()
    for index, cell in enumerate(grid):
        spent = time.monotonic() - started
        left = f", {clock(spent)} so far, about {clock(spent / index * (len(grid) - index))} left" if index else ""
        logger.info("study: run %d of %d, %s%s", index + 1, len(grid), cell.name, left)
        try:
            pipeline.run(cell.config, cell.directory, _STAGES)
        except InputError as error:
            raise InputError(f"{cell.name}: {error}") from error
    parallel.decide(lambda: _write(config, directory, grid))


def _write(config: ConfigDict, directory: Path, grid: list[Cell]) -> None:
    outcomes = [read(cell, config.report.share) for cell in grid]
    if len({outcome.classes for outcome in outcomes}) > 1:
        raise InputError(f"{directory}: its runs have different classes; expected one data set for a study")
    tables = {"summary": summary(outcomes), "classes": by_class(outcomes)}
    folder = directory / "study"
    for name, table in tables.items():
        files.write_text(folder / f"{name}.csv", as_csv(*table))
    for suffix, write in (("md", as_markdown), ("tex", as_latex)):
        files.write_text(folder / f"tables.{suffix}", "\n\n".join(write(*table) for table in tables.values()) + "\n")
    study_page.write(config, directory, groups(outcomes), tables)
    print(as_markdown(*tables["summary"]), flush=True)


def _results(workspace: Workspace) -> list[Path]:
    """Return the results of the runs so far: if one changes, the study runs again."""
    results = [cell.directory / "evaluation.json" for cell in cells(workspace.config, workspace.directory)]
    return [file for file in results if file.exists()]


# All of them may change: each run guards its own result, and making the tables takes no time.
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
