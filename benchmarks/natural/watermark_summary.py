"""What the rows of the watermark benchmark say: rises in log-odds, the parts of sets of coordinates, and grafts."""

from collections.abc import Iterator

import numpy as np
import scipy
from jaxtyping import Float

Values = Float[np.ndarray, " images"]


def lines(rows: list[dict]) -> Iterator[dict]:
    """Yield a line for each mark, set and graft, with 95 % bootstrap intervals over images."""
    measured: dict[tuple, dict[int, tuple[float, int]]] = {}
    for row in rows:
        outcomes = measured.setdefault((row["network"], row["mark"], row["set"], row["share"], row["way"]), {})
        outcomes |= zip(row["images"], zip(row["log_odds"], row["top"], strict=True), strict=True)
    for network, mark, _, _, way in list(measured):
        if way == "marked":
            yield from _of_mark(measured, network, mark)


def _of_mark(measured: dict[tuple, dict[int, tuple[float, int]]], network: str, mark: str) -> Iterator[dict]:
    """Yield the lines of a mark, over the images that all of its conditions have."""
    conditions = {key[2:]: outcomes for key, outcomes in measured.items() if key[:2] == (network, mark)}
    before, after = measured[network, "default", "", 0, "clean"], conditions["", 0, "marked"]
    images = np.array(sorted(set(before).intersection(*conditions.values())))
    about = {"network": network, "mark": mark, "images": len(images)}
    clean, marked = (_log_odds(outcomes, images) for outcomes in (before, after))
    yield about | {
        "rise": ratio(marked - clean, np.ones(len(images))),
        "probability ratio": ratio(scipy.special.expit(marked), scipy.special.expit(clean)),
        "raised": round(float((marked > clean).mean()), 4),
        "clean": _rates(before, images),
        "marked": _rates(after, images),
    }
    first: dict[tuple, Values] = {}
    for (name, share, way), outcomes in conditions.items():
        line = about | {"set": name, "share": share}
        if way in ("given", "taken"):
            own = _log_odds(outcomes, images)
            parts = own - clean if way == "given" else marked - own
            line |= {way: ratio(parts, marked - clean)}
            if (reference := first.setdefault((share, way), parts)) is not parts:
                line["first set less this"] = ratio(reference - parts, marked - clean)
            yield line
        elif way.startswith("grafted"):
            yield line | {way: _rates(outcomes, images)}


def ratio(over: Values, under: Values) -> list[float]:
    """Return the ratio of two means over the same images, and its 95 % percentile interval (2,000 resamples)."""
    weights = np.random.default_rng(0).multinomial(len(over), np.full(len(over), 1 / len(over)), 2000)
    interval = np.quantile((weights @ over) / (weights @ under), [0.025, 0.975])
    return [round(float(value), 4) for value in (over.mean() / under.mean(), *interval)]


def _log_odds(outcomes: dict[int, tuple[float, int]], images: np.ndarray) -> Values:
    return np.array([outcomes[image][0] for image in images])


def _rates(outcomes: dict[int, tuple[float, int]], images: np.ndarray) -> dict[str, list[float]]:
    top, one = np.array([outcomes[image][1] for image in images]), np.ones(len(images))
    return {"accuracy": ratio((top == images).astype(float), one), "carton": ratio((top == 478).astype(float), one)}
