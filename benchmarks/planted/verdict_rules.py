"""Other rules beside fsjax's verdict, and sensitivity and specificity of rules on the rows of verdict.py.

published  TPR of the class's images filtered by its map above .6 (Wang et al., ICCV 2023)
margin     the same, and better than 95 % of random masks of its size and than the better of low-pass and most energy,
           with 95 % confidence over paired images: fsjax's rule before it had grafts
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.fourier import masks, spectrum

THRESHOLD = 0.6
_RANDOM = 20  # random masks
_RESAMPLES = 1000


def other_rules(
    model: Model,
    maps: Bool[np.ndarray, "classes height width"],
    images: Float[np.ndarray, "images height width channels"],
    labels: Int[np.ndarray, " images"],
    seed: int,
) -> list[dict]:
    """Return for each class whether it is a shortcut by either rule, and TPR and FPR under its map."""
    classes, plane = len(maps), maps.shape[1:]
    engine = Engine(model, statistics=("predicted_target",), tile_images=256)
    rng = np.random.default_rng([seed, 9])
    rows = []
    for label in range(classes):
        own = images[labels == label]
        positions = int(maps[label].sum())
        energy = spectrum.energy(own)
        controls = [masks.low_pass(*plane, positions), masks.best_orbits(energy, positions)]
        controls += [masks.random(*plane, positions, rng) for _ in range(_RANDOM)]
        batches = engine.image_batches(own, np.full(len(own), label), np.eye(len(own), dtype=np.float32))
        all_masks = np.stack([maps[label], *controls])
        called = engine.sums(batches, all_masks, targets=np.full(len(all_masks), label))["predicted_target"] > 0.5
        tpr = called.mean(1)
        difference = called[0].astype(float) - called[1 + int(tpr[2] > tpr[1])]
        lower = difference.mean() - 1.96 * difference.std() / np.sqrt(len(own))
        beats_random = (1 + (tpr[3:] >= tpr[0]).sum()) / (1 + _RANDOM) <= 0.05
        others = images[labels != label]
        batches = engine.image_batches(others, np.zeros(len(others), int), size=len(own))
        fpr = engine.sums(batches, maps[label][None], targets=np.array([label]))["predicted_target"][0, 0] / len(others)
        rows.append(
            {
                "map_tpr": round(float(tpr[0]), 4),
                "map_fpr": round(float(fpr), 4),
                "published": bool(tpr[0] > THRESHOLD),
                "margin": bool(tpr[0] >= THRESHOLD and beats_random and lower > 0),
            }
        )
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


def _smallest(rows: Sequence[dict]) -> str:
    """Return the median of the smallest tested shares with psi of a half or more; a class without one counts as 1."""
    smallest = [min((float(s) for s, psi in row["psi"].items() if psi >= 0.5), default=1.0) for row in rows]
    return f"{100 * np.median(smallest):.2f} %"


def _cell(rows: Sequence[dict], rule: str, label: str) -> str:
    right, total, low, high = score(rows, rule, label)
    return f"{right}/{total} = {right / total:.2f} [{low:.2f}, {high:.2f}]" if total else "–"
