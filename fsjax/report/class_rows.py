"""One row per class for tables and cards: its verdict, and the rates under its map."""

import numpy as np

from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import MapRates

# Said once where there are no grafts.
NO_VERDICT = (
    "No verdict: the stage evaluate is of an earlier fsjax, or ran without pairs (evaluate.pairs=0); run it again."
)


def class_rows(names: tuple[str, ...], rates: MapRates, grafts: Grafts | None) -> list[dict]:
    """Return a row per class.

    Rows have `name`, `kind` (of graft_results.KINDS), `by`, `verdict` (both in words), `shortcut` (whether it is one),
    `share`, `psi`, `psi_ci`, `smallest`, `smallest_ci` and `sentence`, as in graft_results.Verdict and Curve, `reason`
    (the sentence without name and verdict), `tpr`, `tpr_ci` and `fpr`, and `kept`, the share of the plane that the
    class's map keeps. A missing number is None or NaN. Without grafts, kind, verdict, sentence and reason are '', and
    shortcut is None.
    """
    return [
        {
            "name": name,
            **_verdict(grafts, label),
            "tpr": float(rates.tpr[label]),
            "tpr_ci": rates.tpr_ci[label],
            "fpr": float(rates.fpr[label]),
            "kept": None if rates.kept is None else float(rates.kept[label]),
        }
        for label, name in enumerate(names)
    ]


def _verdict(grafts: Grafts | None, label: int) -> dict:
    nothing = {"share": None, "psi": None, "psi_ci": (), "smallest": None, "smallest_ci": np.full(2, np.nan)}
    if grafts is None:
        return {"kind": "", "by": "", "verdict": "", "shortcut": None, **nothing, "sentence": "", "reason": ""}
    found = grafts.verdicts[label]
    of_verdict = {name: getattr(found, name) for name in ("kind", "by", "share", "psi", "psi_ci", "smallest")}
    words = f"{found.kind} by {found.by}" if found.by else found.kind
    return {
        **nothing,
        **of_verdict,
        "smallest_ci": grafts.curves["map"].smallest_ci[label],
        "verdict": words,
        "shortcut": found.kind == "shortcut",
        "sentence": found.sentence,
        "reason": found.sentence.removeprefix(f"{found.name}: {words}: "),
    }
