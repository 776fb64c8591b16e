"""The answer of a run as text for a terminal: the verdict on each class, and where the page is."""

from fsjax.evaluation import evaluation_file, probes, verdict
from fsjax.evaluation.probes import Probes
from fsjax.evaluation.results import Evaluation
from fsjax.report.class_rows import NO_VERDICT, class_rows
from fsjax.report.headline import headline, others
from fsjax.report.shares import MISSING, share_text
from fsjax.runtime.storage import Path

# Classes that are always listed; beyond them only shortcuts are.
_FIRST = 20
_LONGEST_NAME = 30
_HEADINGS = ("class", "verdict", "smallest share", "psi [95 %]", "at share")


def of_run(directory: Path, method: str, share: float, threshold: float) -> str:
    """Return the text for a workdir with a page about the maps of a search method; see `table`."""
    evaluation = evaluation_file.read_method(directory / "evaluation.json", method)
    parts = [table(evaluation, method, share, threshold)]
    if (file := probes.result_file(directory)).exists():
        parts.append(kept_from(Probes.read(file), evaluation.unfiltered.accuracy))
    return "\n\n".join([*parts, f"Page: {directory / 'report' / 'index.html'}"])


def kept_from(found: Probes, accuracy: float) -> str:
    """Return what the training was kept from by its probes, and the accuracy before and after."""
    if not found.share:
        return "Nothing was kept from the training: no class's map was in use in its probes."
    return (
        f"Kept from the training: {share_text(found.share)} of the plane, found in {len(found.rounds)} probes. "
        f"Accuracy on the test images: {found.rounds[0].accuracy:.2f} in the first probe, {accuracy:.2f} now."
        + (f" Images trained on: {found.cost:.1f} times a standard training's." if found.cost else "")
    )


def table(evaluation: Evaluation, method: str, share: float, threshold: float) -> str:
    """Return headline and table, at the share of the maps nearest to `share`; names without control characters."""
    evaluated = evaluation.methods[method]
    share = evaluated.nearest(share)
    rows = class_rows(evaluation.classes, evaluated.at(share), evaluated.grafts)
    lines = [_printable(headline(rows, evaluated.grafts, share, threshold)), others(rows), ""]
    shown = [row for label, row in enumerate(rows) if label < _FIRST or row["shortcut"]]
    cells = [(*_HEADINGS, *(f"{rate} at {share_text(share)}" for rate in ("TPR", "FPR"))), *map(_cells, shown)]
    if evaluated.at(share).kept_differs:
        kept = ["map keeps", *(share_text(row["kept"]) for row in shown)]
        cells = [(*of_row, of_class) for of_row, of_class in zip(cells, kept, strict=True)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines += ["  ".join(map(str.ljust, of_row, widths)).rstrip() for of_row in cells]
    if hidden := len(rows) - len(shown):
        lines.append(f"and {hidden} more{'' if evaluated.grafts is None else ', none of them a shortcut'}")
    lines += [
        "",
        NO_VERDICT if evaluated.grafts is None else f"psi at least {verdict.CONTROL:g}: the map controls the class.",
    ]
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before)


def _cells(row: dict) -> tuple[str, ...]:
    name = _printable(row["name"])
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 3]}..."
    psi = "-" if row["psi"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(row["psi"], *row["psi_ci"])
    smallest, at = (share_text(row[field]).replace(MISSING, "-") for field in ("smallest", "share"))
    return (name, row["verdict"] or "-", smallest, psi, at, _rate(row["tpr"]), _rate(row["fpr"]))


def _rate(rate: float) -> str:
    return "-" if rate != rate else f"{rate:.2f}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
