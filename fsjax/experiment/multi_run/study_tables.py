"""Tables of a study, each headings and rows of values, as CSV, Markdown and LaTeX."""

import csv
import io
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fsjax.evaluation.results import Rates
from fsjax.evaluation.statistics import mean
from fsjax.experiment.multi_run.study_outcomes import Measured, Outcome, measured, median, stability

Value = str | int | float | Measured | None

_RATES = ("TPR unfiltered", "TPR", "TPR low", "TPR high", "FPR")
_GRAFTS = ("psi", "smallest share")
# Headings of control masks on other sets, and the fields of ControlRates that they show.
_CONTROLS = {"trivial TPR": "trivial_tpr", "random TPR": "random_tpr", "radial TPR": "radial_tpr"}
_STABILITY = ("map IoU", "chance IoU", "resampled IoU")


def groups(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Group the outcomes that differ by their seed only."""
    of_seeds = itertools.groupby(outcomes, key=lambda outcome: (outcome.cell.model, outcome.cell.variant))
    return [list(seeds) for _, seeds in of_seeds]


def summary(outcomes: list[Outcome]) -> tuple[list[str], list[list[Value]]]:
    """Return headings and a row for each model and variant: accuracy, mean rates, shortcuts, stability of the maps.

    The column "smallest share" is the median over classes and seeds; none where half of them do not reach psi = 1/2.
    """
    headings = ["model", "training", "seeds", "accuracy", "TPR", "FPR", "above threshold", *_GRAFTS, "shortcuts"]
    headings += [*_STABILITY, *(f"{name} accuracy" for name in _sets(outcomes))]
    rows = []
    for seeds in groups(outcomes):
        overlaps = [stability([seed.masks[label] for seed in seeds]) for label in range(len(seeds[0].classes))]
        rows.append(
            [
                seeds[0].cell.model,
                seeds[0].cell.variant,
                len(seeds),
                measured([seed.accuracy for seed in seeds]),
                measured([mean(seed.rates.tpr) for seed in seeds]),
                measured([mean(seed.rates.fpr) for seed in seeds]),
                measured([seed.above_threshold for seed in seeds]),
                measured([mean(seed.psi) for seed in seeds]),
                median([share for seed in seeds for share in seed.smallest]),
                measured([mean(seed.shortcut) for seed in seeds]),
                *(measured([iou.mean for iou in ious]).mean for ious in zip(*overlaps, strict=True)),
                measured([mean(seed.resampled) for seed in seeds]),
                *(measured([seed.elsewhere[name].accuracy for seed in seeds]) for name in _sets(outcomes)),
            ]
        )
    return headings, rows


def by_class(outcomes: list[Outcome]) -> tuple[list[str], list[list[Value]]]:
    """Return headings and a row for each class, model and variant: its rates on the test images and other sets.

    The column "shortcut" is the share of runs with a verdict that call the class a shortcut, and "smallest share" the
    median over seeds; none where half of them do not reach psi = 1/2.
    """
    headings = ["class", "model", "training", *_RATES, *_GRAFTS, "shortcut", *_STABILITY]
    headings += [f"{name} {rate}" for name in _sets(outcomes) for rate in (*_RATES, *_CONTROLS)]
    rows = []
    for label, name in enumerate(outcomes[0].classes):
        for seeds in groups(outcomes):
            row: list[Value] = [name, seeds[0].cell.model, seeds[0].cell.variant]
            row += _rates([seed.unfiltered_tpr for seed in seeds], [seed.rates for seed in seeds], label)
            row += [measured([seed.psi[label] for seed in seeds]), median([seed.smallest[label] for seed in seeds])]
            row.append(measured([seed.shortcut[label] for seed in seeds]))
            row += [iou.mean for iou in stability([seed.masks[label] for seed in seeds])]
            row.append(measured([seed.resampled[label] for seed in seeds]))
            for other in _sets(outcomes):
                sets = [seed.elsewhere[other] for seed in seeds]
                row += _rates([of_set.unfiltered.tpr for of_set in sets], [of_set.filtered for of_set in sets], label)
                for control in _CONTROLS.values():
                    row.append(measured([getattr(of_set.control_rates, control)[label] for of_set in sets]))
            rows.append(row)
    return headings, rows


def _rates(unfiltered: list[Float[np.ndarray, " classes"]], rates: Sequence[Rates], label: int) -> list[Value]:
    """Return the columns of _RATES, from a TPR and rates of each seed."""
    low, high = (measured([of_seed.tpr_ci[label, end] for of_seed in rates]).mean for end in (0, 1))
    return [
        measured([tpr[label] for tpr in unfiltered]),
        measured([of_seed.tpr[label] for of_seed in rates]),
        low,
        high,
        measured([of_seed.fpr[label] for of_seed in rates]),
    ]


def _sets(outcomes: list[Outcome]) -> list[str]:
    """Return the out-of-distribution sets that all runs have results on."""
    return [name for name in outcomes[0].elsewhere if all(name in outcome.elsewhere for outcome in outcomes)]


def as_csv(headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """Return CSV with all digits, mean and spread in columns of their own, and nothing where there is no value."""
    columns: list[tuple[Value, ...]] = []
    for heading, *values in zip(headings, *rows, strict=True):
        columns.append((heading, *(value.mean if isinstance(value, Measured) else value for value in values)))
        if any(isinstance(value, Measured) for value in values):
            columns.append((f"{heading} spread", *(getattr(value, "spread", None) for value in values)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
    return text.getvalue()


def as_markdown(headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """Return a table for a README."""
    from tabulate import tabulate  # of the extra launch

    cells = [[in_words(value).replace("|", r"\|") for value in row] for row in rows]
    return tabulate(cells, [name.replace("|", r"\|") for name in headings], tablefmt="github", disable_numparse=True)


def as_latex(headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """Return a table for a paper; it needs the package booktabs."""
    from tabulate import tabulate

    cells = [[in_words(value) for value in row] for row in rows]
    text = tabulate(cells, headings, tablefmt="latex_booktabs", disable_numparse=True)
    return text.replace("±", r"$\pm$").replace("–", "--")


def in_words(value: Value) -> str:
    """Return a value for a reader: rates with three digits, 'mean ± spread' over seeds, a dash for no value."""
    if isinstance(value, Measured):
        return in_words(value.mean) if value.spread is None else f"{value.mean:.3f} ± {value.spread:.3f}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else str(value)
