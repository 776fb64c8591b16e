"""The study stage: every run of the grid is made or resumed, and what they found is put into tables."""

import itertools
import logging
import time
from collections.abc import Callable

from ml_collections import ConfigDict

from fsjax.evaluation.statistics import mean
from fsjax.experiment.study import page
from fsjax.experiment.study.grid import Cell, cells
from fsjax.experiment.study.results import Outcome, Rates, measured, read, stability
from fsjax.experiment.study.tables import Value, as_csv, as_latex, as_markdown
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

# Columns of what maps are held against, and its names in controls.beside.
_CONTROLS = {"trivial TPR": "trivial", "random TPR": "random", "radial TPR": "radial"}
_RATES = ("TPR unfiltered", "TPR", "TPR low", "TPR high", "FPR", *_CONTROLS)


def run(config: ConfigDict, directory: Path, nested: Callable[[ConfigDict, Path], None]) -> None:
    """Runs what is not done yet, and writes study/*.csv, tables.md and tables.tex, and report/study.html.

    Args:
      config: of the study.
      directory: its workdir; each run has a folder in it.
      nested: runs an experiment in a workdir.

    Raises:
      InputError: a run that cannot be made; its name stands before the reason.
    """
    grid = cells(config, directory)
    _run_all(grid, nested)
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
    page.write(config, directory, groups(outcomes), tables)
    print(as_markdown(*tables["summary"]), flush=True)


def _run_all(grid: list[Cell], nested: Callable[[ConfigDict, Path], None]) -> None:
    started = time.monotonic()
    for index, cell in enumerate(grid):
        spent = time.monotonic() - started
        left = f", {clock(spent)} so far, about {clock(spent / index * (len(grid) - index))} left" if index else ""
        logger.info("study: run %d of %d, %s%s", index + 1, len(grid), cell.name, left)
        try:
            nested(cell.config, cell.directory)
        except InputError as error:
            raise InputError(f"{cell.name}: {error}") from error


def groups(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Outcomes that differ by their seed only, together."""
    return [
        list(seeds)
        for _, seeds in itertools.groupby(outcomes, key=lambda outcome: (outcome.cell.model, outcome.cell.variant))
    ]


def summary(outcomes: list[Outcome]) -> tuple[list[str], list[list[Value]]]:
    """Headings and a row a model and variant: accuracy, mean rates, how many classes are shortcuts, stability."""
    headings = ["model", "training", "seeds", "accuracy", "TPR", "FPR", *_CONTROLS, "above threshold", "shortcuts"]
    headings += ["map IoU", "chance IoU", "resampled IoU", *(f"{name} accuracy" for name in _sets(outcomes))]
    rows = []
    for seeds in groups(outcomes):
        rates = [seed.rates for seed in seeds]
        alike = [stability([seed.kept[label] for seed in seeds]) for label in range(len(seeds[0].classes))]
        rows.append(
            [
                seeds[0].cell.model,
                seeds[0].cell.variant,
                len(seeds),
                measured([of_seed.accuracy for of_seed in rates]),
                measured([mean(of_seed.tpr) for of_seed in rates]),
                measured([mean(of_seed.fpr) for of_seed in rates]),
                *(measured([mean(of_seed.controls[name]) for of_seed in rates]) for name in _CONTROLS.values()),
                measured([seed.above for seed in seeds]),
                measured([mean(seed.shortcut) for seed in seeds]),
                measured([found.mean for found, _ in alike]).mean,
                measured([chance.mean for _, chance in alike]).mean,
                measured([mean(seed.resampled) for seed in seeds]),
                *(measured([seed.elsewhere[name].accuracy for seed in seeds]) for name in _sets(outcomes)),
            ]
        )
    return headings, rows


def by_class(outcomes: list[Outcome]) -> tuple[list[str], list[list[Value]]]:
    """Headings and a row a class, model and variant: its rates, here and elsewhere.

    Of the runs with a verdict there is how many call the class a shortcut.
    """
    headings = ["class", "model", "training", *_RATES, "shortcut", "map IoU", "chance IoU", "resampled IoU"]
    headings += [f"{name} {rate}" for name in _sets(outcomes) for rate in _RATES]
    rows = []
    for label, name in enumerate(outcomes[0].classes):
        for seeds in groups(outcomes):
            row: list[Value] = [name, seeds[0].cell.model, seeds[0].cell.variant]
            row += _rates([seed.rates for seed in seeds], label)
            row.append(measured([seed.shortcut[label] for seed in seeds]))
            row += [found.mean for found in stability([seed.kept[label] for seed in seeds])]
            row.append(measured([seed.resampled[label] for seed in seeds]))
            for other in _sets(outcomes):
                row += _rates([seed.elsewhere[other] for seed in seeds], label)
            rows.append(row)
    return headings, rows


def _rates(seeds: list[Rates], label: int) -> list[Value]:
    """The columns of _RATES."""
    low, high = (measured([seed.interval[label, end] for seed in seeds]).mean for end in (0, 1))
    return [
        measured([seed.unfiltered[label] for seed in seeds]),
        measured([seed.tpr[label] for seed in seeds]),
        low,
        high,
        measured([seed.fpr[label] for seed in seeds]),
        *(measured([seed.controls[name][label] for seed in seeds]) for name in _CONTROLS.values()),
    ]


def _sets(outcomes: list[Outcome]) -> list[str]:
    """The out-of-distribution sets that every run was judged on."""
    return [name for name in outcomes[0].elsewhere if all(name in outcome.elsewhere for outcome in outcomes)]
