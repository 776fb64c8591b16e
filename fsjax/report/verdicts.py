"""Whether each class's map is a shortcut, beside its controls, and in a sentence that says by how much."""

from fsjax.evaluation.controls import RATE
from fsjax.report.html import interval

_ABSENT = "there is no test image of it."


def verdicts(names: tuple[str, ...], rates: dict, share: float, threshold: float) -> list[dict]:
    """A row a class: its rates with `name`, `verdict` (two words), `best_tpr`, `claim` and, of all three, `sentence`.

    Args:
      names: of the classes.
      rates: of evaluation.json, at one share; where the maps have no controls there is no verdict either.
      share: that share, in (0, 1].
      threshold: for the TPR of a shortcut.
    """
    row = _row if "best_trivial" in rates else _without_controls
    rows = [
        {"name": name, **row({key: _of(value, index) for key, value in rates.items()}, share, threshold)}
        for index, name in enumerate(names)
    ]
    return [{**row, "sentence": f"{row['name']}: {row['verdict']}: {row['claim']}"} for row in rows]


def _of(value: list | int | None, index: int) -> object:
    return value[index] if isinstance(value, list) else value


def _without_controls(found: dict, share: float, threshold: float) -> dict:
    row = {**found, "verdict": "no controls", "shortcut": None, "best_tpr": None}
    if found["tpr"] is None:
        return {**row, "claim": _ABSENT}
    return {**row, "claim": f"{_measured(found, share)}; nothing says what other masks of its size give."}


def _row(found: dict, share: float, threshold: float) -> dict:
    best = found["low_pass_tpr"] if found["best_trivial"] == "low-pass" else found["highest_energy_tpr"]
    verdict = {True: "shortcut", False: "no shortcut", None: "no verdict"}[found["shortcut"]]
    row = {**found, "verdict": verdict, "best_tpr": best}
    if best is None:
        return {**row, "claim": _ABSENT}
    trivial = f"the best trivial mask ({found['best_trivial']}) gives {best:.3f}"
    margin = f"a margin of {found['margin']:+.3f} {interval(found['margin_ci'])}"
    reasons = _reasons(found, threshold) if found["shortcut"] is False else []
    return {**row, "claim": f"{_measured(found, share)}; {trivial}, {'; '.join([margin, *reasons])}."}


def _measured(found: dict, share: float) -> str:
    # An evaluation by an earlier fsjax may lack the interval.
    limits = f" {interval(found['tpr_ci'])}" if "tpr_ci" in found else ""
    fpr = "" if found["fpr"] is None else f", FPR {found['fpr']:.3f}"
    return f"{100 * share:g} % of the frequencies give TPR {found['tpr']:.3f}{limits}{fpr}"


def _reasons(found: dict, threshold: float) -> list[str]:
    """Why a class is no shortcut."""
    reasons = []
    if found["tpr"] < threshold:
        reasons.append(f"the TPR is below {threshold:g}")
    if found["q_value"] > RATE:
        reasons.append(f"random masks of its size may do as well (q = {found['q_value']:.3f})")
    if found["margin_ci"][0] <= 0:
        reasons.append(f"the trivial mask {'does better' if found['margin_ci'][1] < 0 else 'may do as well'}")
    return reasons
