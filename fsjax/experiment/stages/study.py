"""Runs a grid of models, ways of training and seeds, and compares what they found."""

import pathlib

from ml_collections import ConfigDict

from fsjax.experiment import study
from fsjax.experiment.run import Run
from fsjax.experiment.stages.stage import Stage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def check(config: ConfigDict) -> None:
    """Raises InputError for a run of the grid that cannot be made, before the first one is."""
    from fsjax.experiment import runner  # it imports the stages, of which this is one

    grid = study.cells(config, pathlib.Path())
    runs = {str(cell.directory) for cell in grid}
    for cell in grid:
        if cell.seed != grid[0].seed:
            continue  # nothing that can be wrong depends on it
        if cell.config.train.dfmx.maps in runs:
            cell.config.train.dfmx.maps = ""  # they are there by the time of this run
        try:
            names = runner.check(cell.config)
            if not {"train", "search", "evaluate"} <= set(names):
                raise InputError(
                    f"study.stages: got {config.study.stages!r}; expected train, search, evaluate and others"
                )
        except InputError as error:
            raise InputError(f"{cell.name}: {error}") from error


def _results(current: Run) -> list[Path]:
    """What the runs have found so far: a study is made again where one of them was."""
    files = [cell.directory / "evaluation.json" for cell in study.cells(current.config, current.directory)]
    return [file for file in files if file.exists()]


# All of them may change: each run guards its own result, and the tables are made from those in no time.
_FIELDS = ("study", "variants", "data", "train", "search", "evaluate", "report", "ood")

STAGE = Stage(
    name="study",
    fields=_FIELDS,
    shown=_FIELDS,
    check=check,
    outputs=lambda run: [run.directory / "report" / "study.html"],
    run=lambda run: study.run(run.config, run.directory, run.nested),
    reads=_results,
)
