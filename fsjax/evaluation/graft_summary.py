"""Numbers of one class from the outcomes of its grafts, as arrays of a fixed shape that processes can add up."""

import dataclasses

import numpy as np
from jaxtyping import Float

from fsjax.evaluation import influence
from fsjax.evaluation.graft_masks import KINDS
from fsjax.evaluation.graft_results import GraftRates
from fsjax.evaluation.grafts import CONTENTS, ClassGrafts
from fsjax.evaluation.influence import Influence, Outcomes
from fsjax.evaluation.smallest_share import smallest_share
from fsjax.evaluation.statistics import wilson
from fsjax.evaluation.verdict import CONTROL, DEFAULT


@dataclasses.dataclass(frozen=True, eq=False)
class ClassSummary:
    """What one class adds to `graft_results.Grafts`.

    Attributes:
      base: q0 where the recipient's own class is left out, q0 where it is not, and whether the latter is counted.
      rates: field of GraftRates -> value at each tested share.
      curves: kind of mask -> field of Curve -> value.
    """

    base: Float[np.ndarray, "3"]
    rates: dict[str, np.ndarray]
    curves: dict[str, dict[str, np.ndarray]]


def nothing(shares: int, tested: int) -> ClassSummary:
    """Return the summary of a class without pairs: all NaN."""
    of_rates = {
        field.name: np.full((tested, 2)[: 1 + field.name.endswith("_ci")], np.nan)
        for field in dataclasses.fields(GraftRates)
    }
    shapes = {"psi": (shares,), "psi_ci": (shares, 2), "smallest": (), "smallest_ci": (2,)}
    return ClassSummary(
        np.full(3, np.nan),
        of_rates,
        {kind: {name: np.full(shape, np.nan) for name, shape in shapes.items()} for kind in KINDS},
    )


def summarise(outcomes: ClassGrafts, shares: tuple[float, ...], seed: int) -> ClassSummary:
    """Return the numbers of a class.

    Args:
      outcomes: of its pairs.
      shares: of the plane, of its masks.
      seed: of resampled images.
    """
    base, base_plain = outcomes.others.base.mean(), outcomes.plain.base.mean()
    by_plain = bool(base > DEFAULT)
    counted = outcomes.plain if by_plain else outcomes.others
    measured = influence.measure(counted)
    rates = [_at_share(outcomes, counted, measured, share, by_plain) for share in outcomes.contents]
    return ClassSummary(
        base=np.array([base, base_plain, by_plain]),
        rates={field.name: np.array([row[field.name] for row in rates]) for field in dataclasses.fields(GraftRates)},
        curves={kind: _curve(outcomes, counted, measured, kind, shares, seed) for kind in KINDS},
    )


def _at_share(
    outcomes: ClassGrafts, counted: Outcomes, measured: Influence, share: int, by_plain: bool
) -> dict[str, float | np.ndarray]:
    """Return the fields of GraftRates at a tested share, by its index."""
    masks = outcomes.masks
    (row,) = masks.rows("map", share)
    grafted, swapped, replaced = (getattr(counted, name)[row] for name in ("grafted", "swapped", "replaced"))

    def psi(kind: str) -> float:
        rows = masks.rows(kind, share)
        return float(measured.psi[rows].mean()) if rows else np.nan

    return {
        "grafted": grafted.mean(),
        "swapped": swapped.mean(),
        "replaced": replaced.mean(),
        "sufficiency": np.clip(measured.sufficiency[row], -1, 1),
        "necessity": np.clip(measured.necessity[row], -1, 1),
        "psi": np.clip(measured.psi[row], -1, 1),
        "psi_ci": np.clip(measured.interval()[row], -1, 1),
        "p_value": measured.p_above(CONTROL)[row],
        "swapped_ci": wilson(np.array([swapped.sum()]), np.array([swapped.size]))[0],
        "difference": masks.share_of_difference(row),
        **dict(zip(CONTENTS, outcomes.contents[share][int(by_plain)].mean(-1), strict=True)),
        **{
            f"{kind}_psi": np.clip(psi(kind), -1, 1)
            for kind in ("radial", "equal_change", "no_dc", "low_pass", "energy")
        },
    }


def _curve(
    outcomes: ClassGrafts, counted: Outcomes, measured: Influence, kind: str, shares: tuple[float, ...], seed: int
) -> dict[str, np.ndarray]:
    """Return the fields of Curve of one kind of mask."""
    rows = [outcomes.masks.rows(kind, share)[0] for share in range(len(shares))]
    smallest, limits = smallest_share(counted.of_masks(rows), shares, CONTROL, seed)
    return {
        "psi": np.clip(measured.psi[rows], -1, 1),
        "psi_ci": np.clip(measured.interval()[rows], -1, 1),
        "smallest": np.array(smallest),
        "smallest_ci": limits,
    }
