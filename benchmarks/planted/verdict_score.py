"""Sensitivity and specificity of rules on the rows of verdict.py, clustered by network."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000


def tables(rows: Sequence[dict], rules: Sequence[str]) -> str:
    """Return Markdown tables: scores of each rule by search, every kind's row, and the classes that are not scored."""
    searches = list(dict.fromkeys(row["search"] for row in rows))
    lines = ["| maps | rule | sensitivity | specificity |", "| --- | --- | --- | --- |"]
    for search in searches:
        of_search = [row for row in rows if row["search"] == search]
        for rule in rules:
            cells = [_cell(of_search, rule, label) for label in ("positive", "negative")]
            lines.append(f"| {search} | {rule} | {' | '.join(cells)} |")
    kinds = sorted({(row["label"] or "not scored", row["row"]) for row in rows}, reverse=True)
    lines += ["", f"Called a shortcut by `{rules[0]}`, of all:", "", f"| truth | kind | {' | '.join(searches)} |"]
    lines.append("| --- " * (2 + len(searches)) + "|")
    for label, kind in kinds:
        of_kind = [row for row in rows if (row["label"] or "not scored", row["row"]) == (label, kind)]
        counts = [[row[rules[0]] for row in of_kind if row["search"] == search] for search in searches]
        lines.append(f"| {label} | {kind} | {' | '.join(f'{sum(of)}/{len(of)}' for of in counts)} |")
    lines += [
        "",
        "Maps of the positives, means:",
        "",
        "| maps | psi at 1 % | psi at 5 % | planted orbits in it | smallest share, median | passes a class |",
    ]
    lines.append("| --- " * 6 + "|")
    for search in searches:
        found = [row for row in rows if row["search"] == search and row["label"] == "positive" and row.get("passes")]
        if found:
            psi = [np.mean([row["psi"][share] for row in found]) for share in ("0.01", "0.05")]
            recovered, passes = np.mean([[row["recovered"], row["passes"]] for row in found], axis=0)
            cells = [f"{psi[0]:.2f}", f"{psi[1]:.2f}", f"{recovered:.2f}", _smallest(found), f"{passes:,.0f}"]
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
    of_label = [row for row in rows if row["label"] == label]
    seeds = sorted({row["seed"] for row in rows})
    right = np.array([sum(row[rule] == wanted for row in of_label if row["seed"] == seed) for seed in seeds])
    total = np.array([sum(row["seed"] == seed for row in of_label) for seed in seeds])
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
