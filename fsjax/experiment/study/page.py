"""The page of a study: one self-contained file, beside which its runs have pages of their own."""

import numpy as np
from ml_collections import ConfigDict

from fsjax.experiment.study.results import Outcome
from fsjax.experiment.study.tables import Value, in_words
from fsjax.report import html, study_figures
from fsjax.report.page import command_of
from fsjax.runtime import files
from fsjax.runtime.storage import Path

_MOST_CLASSES = 12  # drawn in the figures; the tables have them all


def write(
    config: ConfigDict,
    directory: Path,
    groups: list[list[Outcome]],
    tables: dict[str, tuple[list[str], list[list[Value]]]],
) -> None:
    """Writes report/study.html and its figures.

    Args:
      config: of the study.
      directory: its workdir.
      groups: outcomes of all runs, those together that differ by their seed only.
      tables: headings and rows, by name.
    """
    folder, firsts = directory / "report", [seeds[0] for seeds in groups]
    names = firsts[0].classes[:_MOST_CLASSES]
    several = len({first.cell.model for first in firsts}) > 1
    labels = [f"{o.cell.model}\n{o.cell.variant}" if several else o.cell.variant for o in firsts]
    maps = study_figures.map_rows([first.kept[: len(names)] for first in firsts], labels, names)
    tpr = [np.stack([seed.rates.tpr[: len(names)] for seed in seeds]) for seeds in groups]
    rates = study_figures.rates(tpr, labels, names, config.evaluate.threshold)
    runs = [seed.cell for seeds in groups for seed in seeds]
    page = html.template("study.html").render(
        title=directory.name,
        share=config.report.share,
        threshold=config.evaluate.threshold,
        tables={name: (headings, _texts(rows)) for name, (headings, rows) in tables.items()},
        maps=html.embedded(maps, folder / "figures" / "study-maps.png"),
        rates=html.embedded(rates, folder / "figures" / "study-rates.png"),
        drawn=len(names),
        classes=len(firsts[0].classes),
        seeds=len(groups[0]),
        runs=[(cell.name, (cell.directory / "report" / "index.html").exists()) for cell in runs],
        command=command_of(directory),
    )
    files.write_text(folder / "study.html", page)


def _texts(rows: list[list[Value]]) -> list[list[str]]:
    return [[in_words(value) for value in row] for row in rows]
