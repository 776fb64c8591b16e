"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of these columns and rows."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


def spread(values: Sequence[float], form: str) -> str:
    """Return the mean and, if the values differ, the least and the greatest."""
    mean, least, most = (form.format(value) for value in (np.mean(values), min(values), max(values)))
    return mean if min(values) == max(values) else f"{mean} [{least}, {most}]"
