"""The answer of a run: a row for each class, the headline, and both as text for a terminal."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fsjax.evaluation import probes, verdict
from fsjax.evaluation.graft_results import Grafts, Verdict
from fsjax.evaluation.probes import Probes
from fsjax.evaluation.results import Evaluation, read_method
from fsjax.evaluation.statistics import wilson
from fsjax.runtime.errors import printable
from fsjax.runtime.storage import Path

# What a first look says of itself, before its headline and beside the call for the full answer.
FIRST_LOOK, FULL = "First look: ", "Few images, pairs and paths. The full answer:"
NO_VERDICT = "No verdict: the stage evaluate ran without pairs of images (evaluate.pairs=0)."
# Stands for a missing number.
MISSING = "–"

# The headline names at most this many shortcut classes.
_MOST_NAMED = 6
# A terminal lists this many classes, and of the others only shortcuts.
_FIRST = 20
_LONGEST_NAME = 30
_NO_VERDICT = Verdict("", kind="", by="", share=None, psi=None, psi_ci=(), smallest=None, sentence="")


def class_rows(evaluation: Evaluation, method: str, share: float) -> list[dict]:
    """Return a row for each class about a search method's maps at their share nearest to `share`.

    A row has the fields of `graft_results.Verdict`, and `smallest_ci` as in `Curve`. `verdict` is kind and cause in
    words, `reason` the sentence without name and verdict, `shortcut` whether the class is a shortcut. `tpr`, `tpr_ci`,
    `fpr` and `kept`, the share that the class's map keeps, come from the rates. A missing number is None or NaN.
    Without grafts texts are '' and `shortcut` is None.
    """
    evaluated = evaluation.methods[method]
    rates, grafts, rows = evaluated.at(evaluated.nearest(share)), evaluated.grafts, []
    verdicts = [_NO_VERDICT] * len(evaluation.classes) if grafts is None else grafts.verdicts
    for label, (name, judged) in enumerate(zip(evaluation.classes, verdicts, strict=True)):
        row = vars(judged) | {
            "name": name,
            "smallest_ci": np.full(2, np.nan) if grafts is None else grafts.curve.smallest_ci[label],
            "verdict": judged.words,
            "shortcut": None if grafts is None else judged.kind == "shortcut",
            "reason": judged.reason,
            "tpr": float(rates.tpr[label]),
            "tpr_ci": rates.tpr_ci[label],
            "fpr": float(rates.fpr[label]),
            "kept": None if rates.kept is None else float(rates.kept[label]),
        }
        rows.append(row)
    return rows


def headline(evaluation: Evaluation, method: str, rows: list[dict], share: float, threshold: float) -> str:
    """Return the first sentences of a page: `class_rows` at a share in short, and the accuracy on the test images.

    They say where naming the most frequent class may be as accurate. Without grafts they count the classes that meet
    the published criterion, a TPR above the threshold.
    """
    accuracy, images = evaluation.unfiltered.accuracy, np.asarray(evaluation.images)
    lower, _ = wilson(np.array(accuracy * images.sum()), np.array(images.sum()))
    guessed = ", near chance: the verdicts say little" if lower <= images.max() / images.sum() else ""
    evaluated = evaluation.methods[method]
    short = _in_short(rows, evaluated.grafts, evaluated.nearest(share), threshold)
    return f"{short} Accuracy {accuracy:.2f} on the test images{guessed}."


def _in_short(rows: list[dict], grafts: Grafts | None, share: float, threshold: float) -> str:
    count = len(rows)
    classes = "class" if count == 1 else "classes"
    if grafts is None:
        over = sum(row["tpr"] > threshold for row in rows)
        return f"TPR above {threshold:g} at {share_text(share)} of the plane for {over} of {count} {classes}."
    shortcuts = [row["name"] for row in rows if row["shortcut"]]
    are_shortcuts = "is a frequency shortcut" if len(shortcuts) == 1 else "are frequency shortcuts"
    listed = f": {', '.join(shortcuts)}" if 0 < len(shortcuts) <= _MOST_NAMED else ""
    sentence = f"{len(shortcuts)} of {count} {classes} {are_shortcuts}{listed}."
    known = [label for label, row in enumerate(rows) if row["shortcut"] and row["smallest"] is not None]
    if not known:
        return sentence
    label = min(known, key=lambda label: rows[label]["smallest"])
    smallest, low_pass = share_text(rows[label]["smallest"]), float(grafts.rates.low_pass_psi[label])
    return (
        f"{sentence} {smallest} of the plane controls {rows[label]['name']}; low-pass of its map's size has psi "
        f"{low_pass:z.2f}."
    )


def others(rows: list[dict]) -> str:
    """Return how many classes have each other verdict; '' without any, and without grafts."""
    kinds = Counter(row["kind"] for row in rows if row["shortcut"] is False)
    if not kinds:
        return ""
    before = "The others: " if any(row["shortcut"] for row in rows) else "Verdicts: "
    return before + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + "."


def share_text(share: float | None) -> str:
    """Return a share in [0, 1] in percent, with two digits: '0.59 %'; a dash for None and NaN."""
    return MISSING if share is None or np.isnan(share) else f"{_two_digits(share)} %"


def share_limits_text(limits: Sequence[float] | Float[np.ndarray, "2"], largest: float) -> str:
    """Return the interval of a smallest share, '[0.42, 0.91] %'; '' where both limits are missing.

    A missing upper limit lies beyond `largest`, the largest share that was tried.
    """
    low, high = limits
    if np.isnan(low):
        return ""
    return f"[{_two_digits(low)}, {f'> {_two_digits(largest)}' if np.isnan(high) else _two_digits(high)}] %"


def _two_digits(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g}"


def terminal_text(directory: Path, method: str, share: float, threshold: float, full: str = "") -> str:
    """Return `table` of a workdir's search method, what its probes found, and where its page is."""
    evaluation = read_method(directory / "evaluation.json", method)
    parts = [table(evaluation, method, share, threshold, full)]
    if (file := probes.result_file(directory)).exists():
        parts.append(probes_text(Probes.read(file), evaluation.unfiltered.accuracy))
    return "\n\n".join([*parts, f"Page: {directory / 'report' / 'index.html'}"])


def probes_text(found: Probes, accuracy: float) -> str:
    """Return what probes kept from the training, the accuracy before and after, and what classes still rest on."""
    kept = [f"{share_text(found.share)} of the plane"] * bool(found.share)
    kept += [f"the traces of {', '.join(found.operations)}"] * bool(found.operations)
    if not kept:
        return "Nothing was kept from the training: no class's map and no operation was in use in its probes."
    left = [printable(f"{name} still rests on {on}.") for name, on in found.left.items()]
    more = [f"So do {len(left) - _FIRST} more classes; probes/probes.json has all."] * (len(left) > _FIRST)
    summary = (
        f"Kept from the training: {' and '.join(kept)}, found in {len(found.rounds)} probes. "
        f"Accuracy on the test images: {found.rounds[0].accuracy:.2f} in the first probe, {accuracy:.2f} now. "
        f"Images trained on: {found.cost:.1f} times a standard training's."
    )
    return "\n".join([summary, *left[:_FIRST], *more])


def table(evaluation: Evaluation, method: str, share: float, threshold: float, full: str = "") -> str:
    """Return headline and table at the map share nearest to `share`, with control characters as Python escapes them.

    `full` is the call for the full answer, if this is a first look.
    """
    evaluated = evaluation.methods[method]
    share, rows = evaluated.nearest(share), class_rows(evaluation, method, share)
    first = FIRST_LOOK if full else ""
    lines = [first + printable(headline(evaluation, method, rows, share, threshold)), others(rows), ""]
    listed = [row for label, row in enumerate(rows) if label < _FIRST or row["shortcut"]]
    headings = ["class", "verdict", "smallest share", "psi [95 %]", "at share"]
    cells = [headings + [f"{rate} at {share_text(share)}" for rate in ("TPR", "FPR")], *map(_cells, listed)]
    if evaluated.at(share).kept_differs:
        for cell, kept in zip(cells, ["map keeps", *(share_text(row["kept"]) for row in listed)], strict=True):
            cell.append(kept)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines += ["  ".join(map(str.ljust, texts, widths)).rstrip() for texts in cells]
    if hidden := len(rows) - len(listed):
        lines.append(f"and {hidden} more{'' if evaluated.grafts is None else ', none of them a shortcut'}")
    rule = f"A shortcut needs a psi above {verdict.CONTROL:g} with 95 % confidence, and controls that have far less."
    lines += ["", NO_VERDICT if evaluated.grafts is None else rule]
    lines += ["", FULL, printable(full)] if full else []
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before)


def _cells(row: dict) -> list[str]:
    name = printable(row["name"])
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 3]}..."
    psi = "-" if row["psi"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(row["psi"], *row["psi_ci"])
    smallest, at = (share_text(row[field]).replace(MISSING, "-") for field in ("smallest", "share"))
    rates = ("-" if np.isnan(row[name]) else f"{row[name]:.2f}" for name in ("tpr", "fpr"))
    return [name, row["verdict"] or "-", smallest, psi, at, *rates]
