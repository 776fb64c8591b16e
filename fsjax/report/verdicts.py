"""Whether each class's map is a shortcut, beside its controls, and in a sentence that says by how much."""

from fsjax.evaluate.controls import RATE
from fsjax.report.html import interval


def verdicts(names: tuple[str, ...], rates: dict, share: float, threshold: float) -> list[dict]:
    """A row a class; none where the maps have no controls.

    Args:
      names: of the classes.
      rates: of evaluation.json, at one share.
      share: that share, in (0, 1].
      threshold: for the TPR of a shortcut.
    """
    if "best_trivial" not in rates:
        return []
    return [
        _row(name, {key: _of(value, index) for key, value in rates.items()}, share, threshold)
        for index, name in enumerate(names)
    ]


def _of(value: list | int | None, index: int) -> object:
    return value[index] if isinstance(value, list) else value


def _row(name: str, found: dict, share: float, threshold: float) -> dict:
    """The numbers of a class with `name`, `verdict` (two words at most), `best_tpr` and `sentence`."""
    best = found["low_pass_tpr"] if found["best_trivial"] == "low-pass" else found["highest_energy_tpr"]
    verdict = {True: "shortcut", False: "no shortcut", None: "no verdict"}[found["shortcut"]]
    row = {**found, "name": name, "verdict": verdict, "best_tpr": best}
    if best is None:
        return {**row, "sentence": f"{name}: {verdict}: there is no test image of it."}
    fpr = "" if found["fpr"] is None else f", FPR {found['fpr']:.3f}"
    measured = (
        f"{name}: {verdict}: {100 * share:g} % of the frequencies give TPR {found['tpr']:.3f} "
        f"{interval(found['tpr_ci'])}{fpr}; the best trivial mask ({found['best_trivial']}) gives {best:.3f}, "
    )
    margin = f"{found['margin']:+.3f} {interval(found['margin_ci'])}"
    reasons = _reasons(found, threshold) if found["shortcut"] is False else []
    return {**row, "sentence": f"{measured}a margin of {margin}{''.join(f'; {reason}' for reason in reasons)}."}


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
