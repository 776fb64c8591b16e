"""Rival rules beside fsjax's verdict, and how rules and scores do on the rows of verdict.py.

published  TPR of the class's images filtered by its map above .6 (Wang et al., ICCV 2023)
"""

import dataclasses
import itertools
from collections.abc import Sequence
from unittest import mock

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation import verdict
from fsjax.evaluation.graft_results import GraftRates
from fsjax.fourier import masks

THRESHOLD = 0.6
_RESAMPLES = 1000
# Values that each threshold of the verdict takes in turn, the others as they are.
_THRESHOLDS = {
    "CONTROL": (0.3, 0.4, 0.6, 0.7),
    "as much": (0.3, 0.4, 0.6, 0.7),
    "low": (0.25, 0.4, 0.5),
    "nearly": (0.75, 0.95),
    "own": (4.0, 5.0, 6.0, 10.0),
    "less": (0.5, 0.6, 0.9),
    "partly": (0.15, 0.35, 0.5),
    "RECOGNISED": (0.3, 0.4, 0.6),
    "COMPLETE": (0.7, 0.8, 0.95),
}
# Where triggers are counted; a shortcut may have one, too.
_TRIGGER_ROWS = {
    "triggers": lambda row: row["label"] == "trigger",
    "photographs with nothing planted": lambda row: row["label"] == "negative" and row["kind"] == "photograph",
    "other negatives": lambda row: row["label"] == "negative" and row["kind"] != "photograph",
}
# Scores that order the classes, of a row.
_SCORES = {
    "psi": lambda row: row["rates"]["psi"],
    "TPR": lambda row: row["map_tpr"],
    "TPR - FPR": lambda row: row["map_tpr"] - row["map_fpr"],
    "TPR of low-pass": lambda row: row["low_pass_tpr"],
}


def filtered(
    model: Model,
    maps: Bool[np.ndarray, "classes height width"],
    images: Float[np.ndarray, "images height width channels"],
    labels: Int[np.ndarray, " images"],
) -> list[dict]:
    """Return for each class TPR and FPR under its map, TPR of low-pass of its size, and the published rule's answer."""
    plane, rows = maps.shape[1:], []
    engine = Engine(model, statistics=("predicted_target",), tile_images=256)
    for label, mask in enumerate(maps):
        low_pass = masks.low_pass(plane[0], plane[1], int(mask.sum()))
        sides = np.stack([labels == label, labels != label], axis=1)
        batches = engine.image_batches(images, labels, sides.astype(np.float32))
        called = engine.sums(batches, np.stack([mask, low_pass]), targets=np.full(2, label))["predicted_target"]
        (tpr, fpr), (low_pass_tpr, _) = called / sides.sum(0)
        row = {"map_tpr": float(tpr), "map_fpr": float(fpr), "low_pass_tpr": float(low_pass_tpr)}
        rows.append(row | {"published": bool(tpr > THRESHOLD)})
    return rows


def tables(rows: Sequence[dict], rules: Sequence[str]) -> str:
    """Return Markdown tables: scores of each rule by search, every kind's row, and the classes that are not scored."""
    searches = list(dict.fromkeys(row["search"] for row in rows))
    lines = ["| maps | rule | sensitivity | specificity |", "| --- | --- | --- | --- |"]
    for search in searches:
        search_rows = [row for row in rows if row["search"] == search]
        for rule in rules:
            cells = [_cell(search_rows, rule, label) for label in ("positive", "negative")]
            lines.append(f"| {search} | {rule} | {' | '.join(cells)} |")
    kinds = sorted({(row["label"] or "not scored", row["row"]) for row in rows}, reverse=True)
    lines += ["", f"Called a shortcut by `{rules[0]}`, of all:", "", f"| truth | kind | {' | '.join(searches)} |"]
    lines.append("| --- " * (2 + len(searches)) + "|")
    for label, kind in kinds:
        kind_rows = [row for row in rows if (row["label"] or "not scored", row["row"]) == (label, kind)]
        counts = [[row[rules[0]] for row in kind_rows if row["search"] == search] for search in searches]
        lines.append(f"| {label} | {kind} | {' | '.join(f'{sum(of)}/{len(of)}' for of in counts)} |")
    lines += [
        "",
        "Maps of the positives, means:",
        "",
        "| maps | psi at 5 % | planted orbits in it | smallest share, median | passes a class |",
    ]
    lines.append("| --- " * 5 + "|")
    for search in searches:
        found = [row for row in rows if row["search"] == search and row["label"] == "positive" and row.get("passes")]
        if found:
            numbers = [[row["psi"].get("0.05", np.nan), row["recovered"], row["passes"]] for row in found]
            psi, recovered, passes = np.nanmean(numbers, axis=0)
            cells = [f"{psi:.2f}", f"{recovered:.2f}", _smallest(found), f"{passes:,.0f}"]
            lines.append(f"| {search} | {' | '.join(cells)} |")
    first = [row for row in rows if row["search"] == searches[0]]
    with_triggers = [row for row in first if row.get("trigger")]
    if with_triggers:
        lines += ["", "| triggers found in | |", "| --- | --- |"]
    for name, of in _TRIGGER_ROWS.items():
        found = [row["trigger"]["found"] for row in with_triggers if of(row)]
        lines += [f"| {name} | {sum(found)}/{len(found)} |"] if found else []
    named = [row["decision"][0] in ("trigger", "shortcut") for row in with_triggers if row["label"] == "trigger"]
    lines += [f"| triggers that a verdict calls a trigger or a shortcut | {sum(named)}/{len(named)} |"] if named else []
    unscored = sum(row["label"] is None for row in first)
    lines += [
        "",
        f"{len({row['seed'] for row in rows})} networks, {len(first)} classes, {unscored} of them not scored.",
    ]
    return "\n".join(lines)


def score(rows: Sequence[dict], rule: str, label: str) -> tuple[int, int, float, float]:
    """Return right and all rows of a label, and a 95 % interval of their ratio over resampled networks."""
    wanted = label == "positive"
    label_rows = [row for row in rows if row["label"] == label]
    seeds = sorted({row["seed"] for row in rows})
    right = np.array([sum(row[rule] == wanted for row in label_rows if row["seed"] == seed) for seed in seeds])
    total = np.array([sum(row["seed"] == seed for row in label_rows) for seed in seeds])
    drawn = np.random.default_rng(0).integers(len(seeds), size=(_RESAMPLES, len(seeds)))
    sums = total[drawn].sum(1)
    ratios = right[drawn].sum(1)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (np.nan, np.nan)
    return int(right.sum()), int(total.sum()), float(low), float(high)


def auroc(rows: Sequence[dict]) -> str:
    """Return a Markdown table of the area under the ROC curve, positives against negatives, for each score."""
    labels = np.array([row["label"] == "positive" for row in rows if row["label"] in ("positive", "negative")])
    lines = ["| score | AUROC |", "| --- | --- |"]
    for name, value in _SCORES.items():
        values = np.array([value(row) for row in rows if row["label"] in ("positive", "negative")], float)
        pairs = scipy.stats.mannwhitneyu(values[labels], values[~labels]).statistic
        lines.append(f"| {name} | {pairs / (labels.sum() * (~labels).sum()):.3f} |")
    return "\n".join(lines)


def thresholds(rows: Sequence[dict]) -> str:
    """Return a Markdown table of sensitivity and specificity with other values of each threshold of the verdict."""
    lines = ["| threshold | value | sensitivity | specificity |", "| --- | --- | --- | --- |"]
    lines.append(f"| as frozen | | {_cell(rows, 'verdict', 'positive')} | {_cell(rows, 'verdict', 'negative')} |")
    for name, values in _THRESHOLDS.items():
        for value in values:
            limit = mock.patch.dict(verdict.LIMITS, {name: value})
            with limit if name in verdict.LIMITS else mock.patch.object(verdict, name, value):
                again = [row | {"verdict": _decide(row)} for row in rows]
            cells = [_cell(again, "verdict", label) for label in ("positive", "negative")]
            lines.append(f"| {name} | {value:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stability(found: Sequence[dict]) -> str:
    """Return how many classes keep their verdict over draws and over pairs, and which do not.

    Rows are those of verdict_stability.py: of each class first the draws, then a row for each number of pairs.
    """
    classes = sorted({(row["seed"], row["class"]) for row in found})
    numbers = len({row["pairs"] for row in found})
    lines, kept, turned = [], {"draws": 0, "pairs": 0}, 0
    for one in classes:
        own = [row for row in found if (row["seed"], row["class"]) == one]
        kinds = {
            "draws": [row["kind"] for row in own[:-numbers]],
            "pairs": [row["kind"] for row in own[-numbers:]],
        }
        changed = {name: len(set(of) - {"undecided"}) > 1 for name, of in kinds.items()}
        for name in kept:
            kept[name] += not changed[name]
        known = [kind for kind in kinds["pairs"] if kind != "undecided"]
        turned += any(first != "shortcut" == then for first, then in itertools.pairwise(known))
        if any(changed.values()):
            shown = "; ".join(f"{name}: {', '.join(of)}" for name, of in kinds.items() if changed[name])
            lines.append(f"- network {one[0]}, class {one[1]} ({own[0]['cue']}): {shown}")
    head = [
        f"{kept['draws']} of {len(classes)} classes keep their verdict over draws, {kept['pairs']} over numbers of "
        f"pairs; {turned} become a shortcut with more pairs.",
        "",
    ]
    return "\n".join(head + lines)


def _decide(row: dict) -> bool:
    """Return whether the verdict on a row is a shortcut, from its measures."""
    fields = [field.name for field in dataclasses.fields(GraftRates)]
    rates = GraftRates(**{name: np.array(row["rates"][name], float) for name in fields})
    about = {"tpr": row["test_tpr"], "fpr": row["test_fpr"], "base": row["q0"]}
    decision = verdict.decide(rates, **about, **{name: row[name] for name in ("classes", "pairs", "level")})
    return decision.kind == "shortcut"


def _smallest(rows: Sequence[dict]) -> str:
    """Return the median of the smallest tested shares with psi of a half or more; a class without one counts as 1."""
    smallest = [min((float(s) for s, psi in row["psi"].items() if psi >= 0.5), default=1.0) for row in rows]
    return f"{100 * np.median(smallest):.2f} %"


def _cell(rows: Sequence[dict], rule: str, label: str) -> str:
    right, total, low, high = score(rows, rule, label)
    return f"{right}/{total} = {right / total:.2f} [{low:.2f}, {high:.2f}]" if total else "–"
