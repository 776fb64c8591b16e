"""Measures of grafts and the verdicts that rest on them, as dataclasses: a part of evaluation.json (docs/files.md).

Rates are in [0, 1]. A class without pairs of images has NaN everywhere; null in the file.
"""

import dataclasses
import typing
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Float, Int

KINDS = (
    *("shortcut", "band", "coarse", "by absence", "trigger", "default class", "spread", "not recognised", "undecided"),
)

# Arrays of all classes; the results of a single class lack that axis.
_Rate = Float[np.ndarray, "*classes"]
_Limits = Float[np.ndarray, "*classes 2"]
_Count = Int[np.ndarray, "*classes"]


class Measure(NamedTuple):
    """Declaration of a measure: its definition, its heading in the table of evidence, and the name of a psi's mask."""

    help: str
    column: str = ""
    mask: str = ""


# Random controls that hold as much as the map, as the page calls them.
_RADIAL, _EQUAL_CHANGE = "random, with its radial profile (mean)", "random, equal change (mean)"


@dataclasses.dataclass(frozen=True, eq=False)
class Baseline:
    """The images of the pairs, before anything is grafted."""

    pairs: Annotated[_Count, Measure("number of pairs")]
    donors: Annotated[_Count, Measure("number of different images of the class in the pairs")]
    recipients: Annotated[_Count, Measure("number of different images of other classes in the pairs")]
    base: Annotated[_Rate, Measure("recipients predicted as the class where their true class is left out", "q0")]


@dataclasses.dataclass(frozen=True, eq=False)
class GraftRates:
    """The effect of grafting the frequencies in a class's map, at the share that its verdict rests on.

    Fields from `amplitude` to `zeroed`, and psi of other masks, are NaN where the map does not control the class.
    """

    share: Annotated[_Rate, Measure("share of the plane: the smallest with psi of a half, or the largest psi")]
    grafted: Annotated[_Rate, Measure("recipients predicted as the class with frequencies of a donor", "q")]
    disrupted: Annotated[_Rate, Measure("the same with frequencies of another image of the recipient's class", "d")]
    swapped: Annotated[_Rate, Measure("images of the class that keep it with frequencies of their class", "w")]
    replaced: Annotated[_Rate, Measure("images of the class that keep it with frequencies of other classes", "n")]
    sufficiency: Annotated[_Rate, Measure("(q - d) / (1 - d)", "S")]
    necessity: Annotated[_Rate, Measure("(w - n) / w", "N")]
    psi: Annotated[_Rate, Measure("(S + N) / 2", mask="its map")]
    psi_ci: Annotated[_Limits, Measure("95 % interval of psi")]
    p_value: Annotated[_Rate, Measure("one-sided p-value for psi at or below `verdict.control`, least over shares")]
    swapped_ci: Annotated[_Limits, Measure("95 % Wilson interval of w")]
    difference: Annotated[
        _Rate, Measure("share of the energy of pairs' differences that the map holds, without DC", "e")
    ]
    amplitude: Annotated[_Rate, Measure("q where only amplitudes are grafted", "amplitude")]
    phase: Annotated[_Rate, Measure("q where only phases are grafted", "phase")]
    zeroed: Annotated[_Rate, Measure("recipients predicted as the class with these frequencies set to 0", "zeroed")]
    energy_ratio: Annotated[_Rate, Measure("class's energy over others': geometric mean without DC", "energy ratio")]
    largest_energy_ratio: Annotated[_Rate, Measure("the largest of these ratios in the map", "largest ratio")]
    low_pass_psi: Annotated[_Rate, Measure("psi of as many lowest frequencies", "low-pass", "low-pass")]
    radial_psi: Annotated[_Rate, Measure("mean psi of random masks around the map", "radial", _RADIAL)]
    equal_change_psi: Annotated[_Rate, Measure("mean psi of masks with the same e", "equal change", _EQUAL_CHANGE)]
    no_dc_psi: Annotated[_Rate, Measure("psi of the map without DC, with its d and w; NaN where the map lacks DC")]

    def at(self, label: int) -> "GraftRates":
        """Return the rates of one class."""
        return GraftRates(**{name: np.asarray(values[label]) for name, values in vars(self).items()})


# Declarations by the field's name, in the order of the table.
MEASURES: dict[str, Measure] = {
    name: next(note for note in hint.__metadata__ if isinstance(note, Measure))
    for kind in (Baseline, GraftRates)
    for name, hint in typing.get_type_hints(kind, include_extras=True).items()
}


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """psi of the maps with its 95 % interval at each of `Grafts.curve_shares`; NaN where the verdict did not need it.

    `smallest` is the share at which psi reaches 1/2, NaN where it does not; an upper limit beyond all shares is NaN.
    """

    psi: Float[np.ndarray, "curve_shares *classes"]  # noqa: F821
    psi_ci: Float[np.ndarray, "curve_shares *classes 2"]
    smallest: _Rate
    smallest_ci: _Limits


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on a class, of one of KINDS, with its reason as a sentence.

    Attributes:
      by: 'amplitude', 'phase', or 'amplitude and phase' where it carries a shortcut; else ''.
      share, psi, psi_ci: the share of the plane that the verdict is about, psi there, and its 95 % limits; None and ()
        without pairs.
      smallest: share at which psi reaches 1/2; None where it does not, or was not measured.
    """

    name: str
    kind: str
    by: str
    share: float | None
    psi: float | None
    psi_ci: tuple[float, ...]
    smallest: float | None
    sentence: str

    @property
    def words(self) -> str:
        """Kind and cause: 'shortcut by phase'."""
        return f"{self.kind} by {self.by}" if self.by else self.kind

    @property
    def reason(self) -> str:
        """The sentence without name and verdict."""
        return self.sentence.removeprefix(f"{self.name}: {self.words}: ")


@dataclasses.dataclass(frozen=True, eq=False)
class Grafts:
    """Measurements by grafts; verdicts rest on `tested_shares`, and `made` counts the grafts of each class."""

    baseline: Baseline
    rates: GraftRates
    tested_shares: tuple[float, ...]
    curve_shares: tuple[float, ...]
    curve: Curve
    made: _Count
    verdicts: tuple[Verdict, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Triggers:
    """For each class the wave that turns most images into it: images of other classes that are not taken for it.

    Attributes:
      identity: digest of what the result depends on.
      amplitude: A of the wave A cos(k.x + phase), of normalised pixels.
      position, frequency: k as row and column of the centred plane, and its length in cycles per pixel.
      triggered, triggered_ci: share that become the class with the wave, and its 95 % Wilson interval.
      elsewhere: mean share that become the class with a wave of another orbit of nearly the same radius.
      others: the largest share that become another class with the wave.
      images: their number; without any, rates are NaN.
    """

    identity: str
    amplitude: float
    position: Int[np.ndarray, "classes 2"]
    frequency: _Rate
    triggered: _Rate
    triggered_ci: _Limits
    elsewhere: _Rate
    others: _Rate
    images: _Count
