"""Tables of a study: one row of values, three ways of writing it down."""

import csv
import io
import itertools
from collections.abc import Sequence

from fsjax.experiment.study.results import Measured

Value = str | int | float | Measured | None


def as_csv(headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """For programs: all digits, and mean and spread in columns of their own; empty where there is no value."""
    spread = [any(isinstance(row[column], Measured) for row in rows) for column in range(len(headings))]
    titles = [[name, f"{name} spread"] if wide else [name] for name, wide in zip(headings, spread, strict=True)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(itertools.chain.from_iterable(titles))
    for row in rows:
        cells = [_split(value) if wide else [value] for value, wide in zip(row, spread, strict=True)]
        writer.writerow(["" if value is None else value for value in itertools.chain.from_iterable(cells)])
    return text.getvalue()


def as_markdown(headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """For a README."""
    from tabulate import tabulate  # of the extra launch

    cells = [[in_words(value).replace("|", r"\|") for value in row] for row in rows]
    return tabulate(cells, [name.replace("|", r"\|") for name in headings], tablefmt="github", disable_numparse=True)


def as_latex(headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """For a paper; needs the package booktabs."""
    from tabulate import tabulate

    cells = [[in_words(value) for value in row] for row in rows]
    text = tabulate(cells, headings, tablefmt="latex_booktabs", disable_numparse=True)
    return text.replace("±", r"$\pm$").replace("–", "--")


def in_words(value: Value) -> str:
    """A value as people read it: rates with three digits, 'mean ± spread' over seeds, a dash where there is none."""
    if isinstance(value, Measured):
        return in_words(value.mean) if value.spread is None else f"{value.mean:.3f} ± {value.spread:.3f}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else str(value)


def _split(value: Value) -> list[Value]:
    return [value.mean, value.spread] if isinstance(value, Measured) else [value, None]
