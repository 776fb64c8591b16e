"""Numbers of one class from its grafts, as arrays of a fixed shape that processes can merge."""

import dataclasses

import numpy as np
from jaxtyping import Float

from fsjax.evaluation import influence, verdict
from fsjax.evaluation.graft_masks import GraftMasks
from fsjax.evaluation.graft_results import GraftRates
from fsjax.evaluation.grafts import CONTENTS, ClassGrafts
from fsjax.evaluation.influence import Influence, Outcomes
from fsjax.evaluation.smallest_share import smallest_share
from fsjax.evaluation.statistics import wilson
from fsjax.evaluation.verdict import CONTROL


@dataclasses.dataclass(frozen=True, eq=False)
class ClassSummary:
    """What one class adds to `graft_results.Grafts`.

    Attributes:
      base: q0.
      rates: field of GraftRates -> value.
      curves: kind of mask -> field of Curve -> value.
    """

    base: Float[np.ndarray, ""]
    rates: dict[str, np.ndarray]
    curves: dict[str, dict[str, np.ndarray]]


def nothing(shares: int, kinds: tuple[str, ...]) -> ClassSummary:
    """Return the summary of a class without pairs: all NaN."""
    rates = {field.name: np.full((2,) * field.name.endswith("_ci"), np.nan) for field in dataclasses.fields(GraftRates)}
    shapes = {"psi": (shares,), "psi_ci": (shares, 2), "smallest": (), "smallest_ci": (2,)}
    curves = {kind: {name: np.full(shape, np.nan) for name, shape in shapes.items()} for kind in kinds}
    return ClassSummary(np.array(np.nan), rates, curves)


def summarise(
    grafts: ClassGrafts,
    masks: GraftMasks,
    shares: tuple[float, ...],
    tested: tuple[bool, ...],
    kinds: tuple[str, ...],
    level: float,
    seed: int,
) -> ClassSummary:
    """Graft under every mask of a class and return the numbers.

    Args:
      grafts: of the class.
      masks: of the class.
      shares: of the plane, of its maps.
      tested: whether a verdict may rest on each share.
      kinds: of masks, of graft_masks.KINDS, that are grafted at every share; the map first.
      level: of `verdict.rests_on`.
      seed: of resampled images.
    """
    outcomes = {kind: grafts.under(kind, masks.of_kind(kind)) for kind in kinds}
    measured = {kind: influence.measure(of_kind) for kind, of_kind in outcomes.items()}
    of_map = measured["map"]
    base = float(outcomes["map"].base.mean())
    p_value = of_map.p_above(verdict.control(base))
    share = verdict.rests_on(of_map.psi, p_value, np.array(tested), level)
    curves = {kind: _curve(outcomes[kind], measured[kind], shares, seed) for kind in kinds}
    at_share = {"share": np.array(shares[share]), "p_value": np.asarray(p_value[share])}
    return ClassSummary(np.array(base), at_share | _rates(grafts, masks, outcomes["map"], of_map, share), curves)


def _rates(
    grafts: ClassGrafts, masks: GraftMasks, outcomes: Outcomes, measured: Influence, share: int
) -> dict[str, np.ndarray]:
    """Return the fields of GraftRates at a share, by its index, but for `share` and `p_value`."""
    controls = masks.controls(share) | {kind: masks.of_kind(kind)[[share]] for kind in ("low_pass", "energy")}
    # Named after the share: it rests on the level, and so on the number of classes.
    under = influence.measure(grafts.under(f"control{share}-", np.concatenate(list(controls.values()))))
    ends = np.cumsum([len(of_kind) for of_kind in controls.values()])
    psi = {
        f"{kind}_psi": np.array(of_kind.mean() if len(of_kind) else np.nan)
        for kind, of_kind in zip(controls, np.split(np.clip(under.psi, -1, 1), ends[:-1]), strict=True)
    }
    contents = grafts.contents(f"content{share}-", masks.maps[share])
    said = {name: getattr(outcomes, name)[share] for name in ("grafted", "swapped", "replaced")}
    rates = {
        **{name: values.mean() for name, values in said.items()},
        "sufficiency": np.clip(measured.sufficiency[share], -1, 1),
        "necessity": np.clip(measured.necessity[share], -1, 1),
        "psi": np.clip(measured.psi[share], -1, 1),
        "psi_ci": np.clip(measured.interval()[share], -1, 1),
        "swapped_ci": wilson(np.array(said["swapped"].sum()), np.array(said["swapped"].size)),
        "difference": np.array(masks.share_of_difference(share)),
        "prominence": np.array(masks.prominence(share)),
        **dict(zip(("energy_ratio", "largest_energy_ratio"), map(np.array, masks.energy_ratios(share)), strict=True)),
        **dict(zip(CONTENTS, contents.mean(-1), strict=True)),
        **psi,
    }
    return {name: np.asarray(values) for name, values in rates.items()}


def _curve(outcomes: Outcomes, measured: Influence, shares: tuple[float, ...], seed: int) -> dict[str, np.ndarray]:
    """Return the fields of Curve of one kind of mask."""
    smallest, limits = smallest_share(outcomes, shares, CONTROL, seed)
    return {
        "psi": np.clip(measured.psi, -1, 1),
        "psi_ci": np.clip(measured.interval(), -1, 1),
        "smallest": np.array(smallest),
        "smallest_ci": limits,
    }
