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
    before, after = measured[network, "default", "", 0, "clean"], measured[network, mark, "", 0, "marked"]
    about = {"network": network, "mark": mark}
    images = np.array([image for image in after if image in before])
    clean, marked = (_log_odds(outcomes, images) for outcomes in (before, after))
    yield about | {
        "images": len(images),
        "rise": ratio(marked - clean, np.ones(len(images))),
        "probability ratio": ratio(scipy.special.expit(marked), scipy.special.expit(clean)),
        "raised": round(float((marked > clean).mean()), 4),
        "clean": _rates(before, images),
        "marked": _rates(after, images),
    }
    sets = [(key[2], key[3]) for key in measured if key[:2] == (network, mark) and key[4] == "given"]
    reference: dict[tuple, Values] = {}
    for name, share in sets:
        line = about | {"set": name, "share": share}
        for way in ("given", "taken"):
            outcomes = measured.get((network, mark, name, share, way), {})
            both = np.array([image for image in images if image in outcomes])
            if not len(both):
                continue
            own, clean, marked = (_log_odds(of, both) for of in (outcomes, before, after))
            parts = own - clean if way == "given" else marked - own
            line |= {"images": len(both), way: ratio(parts, marked - clean)}
            first = reference.setdefault((share, way), parts)
            if first is not parts and len(first) == len(parts):
                line[f"first set's {way} less this"] = ratio(first - parts, marked - clean)
        yield line
    for key, outcomes in measured.items():
        if key[:2] == (network, mark) and key[4].startswith("grafted"):
            both = np.array([image for image in images if image in outcomes])
            yield about | {"set": key[2], "share": key[3], key[4]: _rates(outcomes, both)} | {"images": len(both)}


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
