"""The page of a study: one self-contained file that links the pages of the runs."""

import numpy as np
from ml_collections import ConfigDict

from fsjax.evaluation import verdict
from fsjax.experiment.multi_run.study_outcomes import Outcome
from fsjax.experiment.multi_run.study_tables import Value, in_words
from fsjax.report import html, study_figures
from fsjax.report.page import shell_command
from fsjax.runtime.storage import Path

_MOST_CLASSES = 12  # in the figures; the tables have them all


def write(
    config: ConfigDict,
    directory: Path,
    groups: list[list[Outcome]],
    tables: dict[str, tuple[list[str], list[list[Value]]]],
) -> None:
    """Write report/study.html and its figures, of outcomes grouped over seeds, and tables (headings, rows) by name."""
    firsts = [seeds[0] for seeds in groups]
    names = firsts[0].classes[:_MOST_CLASSES]
    several = len({first.cell.model for first in firsts}) > 1
    labels = [f"{o.cell.model}\n{o.cell.variant}" if several else o.cell.variant for o in firsts]
    maps = study_figures.map_rows([first.masks[: len(names)] for first in firsts], labels, names)
    tpr = [np.stack([seed.rates.tpr[: len(names)] for seed in seeds]) for seeds in groups]
    psi = [np.stack([seed.psi[: len(names)] for seed in seeds]) for seeds in groups]
    rates = study_figures.rates(tpr, psi, labels, names, config.evaluate.threshold)
    runs = [seed.cell for seeds in groups for seed in seeds]
    html.write_page(
        directory,
        "study",
        {"study-maps": maps, "study-rates": rates},
        share=config.report.share,
        threshold=config.evaluate.threshold,
        rule=verdict.rule(),
        tables={
            name: (headings, [[in_words(value) for value in row] for row in rows])
            for name, (headings, rows) in tables.items()
        },
        drawn=len(names),
        classes=len(firsts[0].classes),
        seeds=len(groups[0]),
        runs=[(cell.name, (cell.directory / "report" / "index.html").exists()) for cell in runs],
        command=shell_command(directory),
    )
