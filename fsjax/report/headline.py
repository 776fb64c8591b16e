"""The answer of a run in sentences: how many classes are shortcuts, which, and the most telling number."""

from collections import Counter

import numpy as np

from fsjax.evaluation.graft_results import Grafts
from fsjax.report.shares import share_text

# Most shortcut classes that are named.
_MOST_NAMED = 6


def headline(rows: list[dict], grafts: Grafts | None, share: float, threshold: float) -> str:
    """Return the first sentences of a page, from rows of `class_rows` at a share.

    Without grafts they say how many classes meet the published criterion, a TPR above the threshold.
    """
    count = len(rows)
    classes = "class" if count == 1 else "classes"
    if grafts is None:
        over = sum(row["tpr"] > threshold for row in rows)
        return f"TPR above {threshold:g} at {share_text(share)} of the plane for {over} of {count} {classes}."
    shortcuts = [row["name"] for row in rows if row["shortcut"]]
    are_shortcuts = "is a frequency shortcut" if len(shortcuts) == 1 else "are frequency shortcuts"
    listed = f": {', '.join(shortcuts)}" if 0 < len(shortcuts) <= _MOST_NAMED else ""
    return f"{len(shortcuts)} of {count} {classes} {are_shortcuts}{listed}. {_most_telling(rows, grafts)}".strip()


def others(rows: list[dict]) -> str:
    """Return how many classes are of each kind beside shortcuts; '' without any, and without verdicts."""
    kinds = Counter(row["kind"] for row in rows if row["shortcut"] is False)
    if not kinds:
        return ""
    before = "The others: " if any(row["shortcut"] for row in rows) else "Verdicts: "
    return before + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + "."


def _most_telling(rows: list[dict], grafts: Grafts) -> str:
    """Return the smallest share of all shortcuts, with that of low-pass masks; '' where there is none."""
    known = [label for label, row in enumerate(rows) if row["shortcut"] and row["smallest"] is not None]
    if not known:
        return ""
    label = min(known, key=lambda label: rows[label]["smallest"])
    low_pass = grafts.curves["low_pass"].smallest[label]
    needs = f"needs {share_text(low_pass)}"
    if np.isnan(low_pass):
        needs = f"does not reach that with {share_text(grafts.curve_shares[-1])}"
    return f"{share_text(rows[label]['smallest'])} of the plane controls {rows[label]['name']}; low-pass {needs}."
