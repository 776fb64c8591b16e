"""The study stage: every run of the grid is made or resumed, and what they found is put into tables."""

import itertools
import logging
import time
from collections.abc import Callable

from ml_collections import ConfigDict

from fsjax import parallel, workdir
from fsjax.errors import InputError
from fsjax.progress import clock
from fsjax.storage import Path
from fsjax.study import page
from fsjax.study.grid import Cell, cells
from fsjax.study.results import Outcome, measured, read, stability
from fsjax.study.tables import Value, as_csv, as_latex, as_markdown

logger = logging.getLogger(__name__)


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
        raise InputError(f"{directory}: its runs have different classes; accepted: one data set for a study")
    tables = {"summary": summary(outcomes), "classes": by_class(outcomes)}
    folder = directory / "study"
    for name, table in tables.items():
        workdir.write_text(folder / f"{name}.csv", as_csv(*table))
    for suffix, write in (("md", as_markdown), ("tex", as_latex)):
        workdir.write_text(folder / f"tables.{suffix}", "\n\n".join(write(*table) for table in tables.values()) + "\n")
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
    """Headings and a row a model and variant: accuracy, rates over the classes, how many are shortcuts, stability."""
    headings = ["model", "training", "seeds", "accuracy", "TPR", "FPR", "above threshold", "shortcuts", "map IoU"]
    headings += ["chance IoU", "resampled IoU", *(f"{name} accuracy" for name in _sets(outcomes))]
    rows = []
    for seeds in groups(outcomes):
        alike = [stability([seed.kept[label] for seed in seeds]) for label in range(len(seeds[0].classes))]
        rows.append(
            [
                seeds[0].cell.model,
                seeds[0].cell.variant,
                len(seeds),
                measured([seed.accuracy for seed in seeds]),
                measured([measured(seed.tpr).mean for seed in seeds]),
                measured([measured(seed.fpr).mean for seed in seeds]),
                measured([seed.above for seed in seeds]),
                measured([measured(seed.shortcut).mean for seed in seeds]),
                measured([found.mean for found, _ in alike]).mean,
                measured([chance.mean for _, chance in alike]).mean,
                measured([measured(seed.resampled).mean for seed in seeds]),
                *(measured([seed.elsewhere[name].accuracy for seed in seeds]) for name in _sets(outcomes)),
            ]
        )
    return headings, rows


def by_class(outcomes: list[Outcome]) -> tuple[list[str], list[list[Value]]]:
    """Headings and a row a class, model and variant: TPR unfiltered, TPR and FPR under the map, here and elsewhere.

    Beside the map stand its better trivial mask and, of the runs with a verdict, how many call the class a shortcut.
    """
    headings = ["class", "model", "training", "TPR unfiltered", "TPR", "FPR", "trivial TPR", "shortcut", "map IoU"]
    headings += ["chance IoU", "resampled IoU"]
    for name in _sets(outcomes):
        headings += [f"{name} TPR unfiltered", f"{name} TPR", f"{name} trivial TPR"]
    rows = []
    for label, name in enumerate(outcomes[0].classes):
        for seeds in groups(outcomes):
            row: list[Value] = [name, seeds[0].cell.model, seeds[0].cell.variant]
            rates = ("unfiltered", "tpr", "fpr", "trivial", "shortcut")
            row += [measured([getattr(seed, rate)[label] for seed in seeds]) for rate in rates]
            row += [found.mean for found in stability([seed.kept[label] for seed in seeds])]
            row.append(measured([seed.resampled[label] for seed in seeds]))
            for other in _sets(outcomes):
                found = [seed.elsewhere[other] for seed in seeds]
                for rate in ("unfiltered", "tpr", "trivial"):
                    row.append(measured([getattr(one, rate)[label] for one in found]))
            rows.append(row)
    return headings, rows


def _sets(outcomes: list[Outcome]) -> list[str]:
    """The out-of-distribution sets that every run was judged on."""
    return [name for name in outcomes[0].elsewhere if all(name in outcome.elsewhere for outcome in outcomes)]
