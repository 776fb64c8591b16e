"""What grafts measured and what follows from it, as dataclasses: a part of evaluation.json (docs/files.md).

Rates are in [0, 1]. A class without pairs of images has NaN everywhere; null in the file.

Examples:
  >>> grafts = result.evaluation.methods["removal"].grafts  # a Grafts
  >>> grafts.baseline.pairs.tolist(), grafts.rates.psi.round(2).tolist()  # a Baseline, and GraftRates
  ([120, 120, 120], [0.0, 1.0, 1.0])
  >>> curve = grafts.curves["map"]  # a Curve
  >>> curve.psi.shape, round(float(curve.smallest[1]), 3)
  ((12, 3), 0.031)
  >>> grafts.verdicts[1].kind, grafts.verdicts[1].share, len(grafts.verdicts[1].psi_interval)  # a Verdict
  ('shortcut', 0.03125, 2)
"""

import dataclasses
import reprlib
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int

from fsjax.evaluation.typed_json import Between, Length
from fsjax.runtime.errors import InputError

KINDS = ("shortcut", "band", "coarse", "by absence", "default class", "spread", "not recognised", "undecided")

_SIGNED = Between(-1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Baseline:
    """The images of the pairs, before anything is grafted.

    Attributes:
      pairs: of each class.
      donors: different images of the class in them.
      recipients: different images of other classes in them.
      base: q0, share of recipients called the class where their own class is left out.
    """

    pairs: Int[np.ndarray, " classes"]
    donors: Int[np.ndarray, " classes"]
    recipients: Int[np.ndarray, " classes"]
    base: Float[np.ndarray, " classes"]


@dataclasses.dataclass(frozen=True, eq=False)
class GraftRates:
    """What grafting the map of a class does at the share that its verdict rests on.

    Attributes:
      share: of the plane: the smallest tested one that controls the class with confidence, or that of the largest psi.
      grafted: q, recipients called the class with the map's frequencies of a donor.
      swapped: w, images of the class still called it with the map's frequencies of another image of the class.
      replaced: n, the same with those of an image of another class.
      sufficiency: S = (q - q0) / (1 - q0).
      necessity: N = (w - n) / w.
      psi: (S + N) / 2.
      psi_ci: its 95 % interval.
      p_value: of psi being at most what controls the class (`verdict.control`); one-sided, of this class and share.
      swapped_ci: Wilson interval of w.
      difference: e, how much of what tells pairs apart lies in the map, DC left out.
      prominence: how much more of that difference an orbit of the map holds than one beside it with its radial profile.
      amplitude: q where only the amplitudes are grafted.
      phase: q where only the phases are grafted.
      zeroed: recipients called the class with the map's frequencies set to 0.
      energy_ratio: energy of the class's images over that of others', at a position of the map: the geometric mean, DC
        left out; NaN where the map holds nothing else.
      largest_energy_ratio: the largest of these ratios.
      radial_psi: mean psi of random masks beside the map with its radial profile.
      equal_change_psi: mean psi of random masks outside the map that hold as much of the difference; NaN without any.
      no_dc_psi: psi of the map without DC; NaN where it does not hold DC.
      low_pass_psi: psi of as many of the lowest frequencies.
      energy_psi: psi of as many frequencies in which the class has most energy.
    """

    share: Float[np.ndarray, " classes"]
    grafted: Float[np.ndarray, " classes"]
    swapped: Float[np.ndarray, " classes"]
    replaced: Float[np.ndarray, " classes"]
    sufficiency: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    necessity: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    psi_ci: Annotated[Float[np.ndarray, "classes 2"], _SIGNED]
    p_value: Float[np.ndarray, " classes"]
    swapped_ci: Float[np.ndarray, "classes 2"]
    difference: Float[np.ndarray, " classes"]
    prominence: Annotated[Float[np.ndarray, " classes"], Between(0, np.inf)]
    amplitude: Float[np.ndarray, " classes"]
    phase: Float[np.ndarray, " classes"]
    zeroed: Float[np.ndarray, " classes"]
    energy_ratio: Annotated[Float[np.ndarray, " classes"], Between(0, np.inf)]
    largest_energy_ratio: Annotated[Float[np.ndarray, " classes"], Between(0, np.inf)]
    radial_psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    equal_change_psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    no_dc_psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    low_pass_psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    energy_psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """psi over the share of the plane, of one kind of mask.

    Attributes:
      psi: at each of `Grafts.curve_shares`.
      psi_ci: its 95 % interval.
      smallest: share at which psi reaches 1/2, between two shares on a logarithmic scale; NaN where it does not.
      smallest_ci: 95 % interval over resampled images; its upper limit is NaN where it lies beyond the largest share.
    """

    psi: Annotated[Float[np.ndarray, "curve_shares classes"], _SIGNED]
    psi_ci: Annotated[Float[np.ndarray, "curve_shares classes 2"], _SIGNED]
    smallest: Float[np.ndarray, " classes"]
    smallest_ci: Float[np.ndarray, "classes 2"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on a class.

    Attributes:
      name: of the class.
      kind: one of KINDS.
      by: what carries a shortcut: 'amplitude', 'phase', or 'amplitude and phase'; else ''.
      share: of the plane that the verdict is about; None where it is about none.
      psi: there.
      psi_ci: its interval, two numbers.
      smallest: share at which psi reaches 1/2; None where it does not, or was not measured.
      sentence: the verdict with its reason.
    """

    name: str
    kind: str
    by: str
    share: float | None
    psi: Annotated[float | None, _SIGNED]
    psi_ci: Annotated[tuple[float, ...], _SIGNED]
    smallest: float | None
    sentence: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or len(self.psi_ci) not in (0, 2):
            found = f"{reprlib.repr(self.kind)} and {len(self.psi_ci)} limits of psi"
            raise InputError(f"verdicts: got {found}; expected one of {', '.join(KINDS)}, and two limits or none")

    @property
    def psi_interval(self) -> tuple[float, ...]:
        """95 % interval of psi: `psi_ci`."""
        return self.psi_ci


@dataclasses.dataclass(frozen=True, eq=False)
class Grafts:
    """What grafts measured of the maps of one search method.

    Attributes:
      baseline: of the pairs.
      rates: of grafts under the maps, each class at one share.
      tested_shares: those that verdicts may rest on.
      curve_shares: shares of the curves, ascending.
      curves: kind of mask, of `graft_masks.KINDS` -> psi over share.
      verdicts: of each class.
    """

    baseline: Baseline
    rates: GraftRates
    tested_shares: tuple[float, ...]
    curve_shares: tuple[float, ...]
    curves: dict[str, Curve]
    verdicts: Annotated[tuple[Verdict, ...], Length("classes")]
