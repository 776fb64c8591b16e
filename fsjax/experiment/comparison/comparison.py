"""compare.json: how alike two sets of maps are, and what a model says of both."""

import dataclasses

import numpy as np
from jaxtyping import Int

from fsjax.evaluation import typed_json
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import MapRates, Unfiltered
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.search.imported import origin

SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True)
class Side:
    """A set of maps.

    Attributes:
      path, sha256: of its file.
      method: that found them, for people.
      searched_on: the split of the searched images.
      images: searched, of each class; None = not known.
      shares: of the plane, in (0, 1].
      scores: whether there are any.
    """

    path: str
    sha256: str
    method: str
    searched_on: str
    images: tuple[int, ...] | None
    shares: tuple[float, ...]
    scores: bool

    @classmethod
    def of(cls, maps: DominantFrequencyMaps) -> "Side":
        """Return the description of maps that `published_maps.read_maps` has read."""
        return cls(
            **maps.provenance["file"],
            method=origin(maps),
            searched_on=maps.searched_on,
            images=tuple(maps.images.tolist()) if maps.images.any() else None,
            shares=maps.shares,
            scores=maps.scores is not None,
        )


@dataclasses.dataclass(frozen=True)
class Overlap:
    """A pair of masks of each class; what is of one side has its name as the key.

    Attributes:
      left, right: the share of each side.
      mean_iou, mean_chance_iou: over the classes that have one.
      iou: of each class, in [0, 1]; None where both masks are empty.
      chance_iou: expected of random sets of these sizes.
      stability: of each side, as of `search.bootstrap.stability_at_share`; None where its search has no resamples.
      positions: that each class's mask keeps.
      kept: the same as a share of the plane.
    """

    left: float
    right: float
    mean_iou: float | None
    mean_chance_iou: float | None
    iou: tuple[float | None, ...]
    chance_iou: tuple[float | None, ...]
    stability: dict[str, dict | None]
    positions: dict[str, tuple[int, ...]]
    kept: dict[str, tuple[float, ...]]


@dataclasses.dataclass(frozen=True)
class Correlations:
    """Rank correlations of each class's scores, in [-1, 1], with 95 % intervals; None where a side has no ranks."""

    resamples: int
    spearman: tuple[float | None, ...]
    mean_spearman: float | None
    spearman_ci: tuple[tuple[float, float] | None, ...]
    kendall: tuple[float | None, ...]
    mean_kendall: float | None
    kendall_ci: tuple[tuple[float, float] | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class OnModel:
    """What a model says.

    Attributes:
      unfiltered: of the test images.
      images: of each class.
      threshold: of the TPR, as published.
      rates: by side, under its masks at each share.
      grafts: by side; None without pairs of images.
    """

    unfiltered: Unfiltered
    images: Int[np.ndarray, " classes"]
    threshold: float
    rates: dict[str, tuple[MapRates, ...]]
    grafts: dict[str, Grafts | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of maps of the same classes and plane.

    Attributes:
      left, right: the sides.
      classes: display names.
      plane: H and W.
      masks: which ones are compared, for people.
      shares: a pair of shares each.
      headline: index of the pair nearest to config.report.share.
      scores: None where a side has no scores.
      min_iou: mean IoU that the config asks for there; 0 = none.
      on_model: None without a model.
    """

    left: Side
    right: Side
    classes: tuple[str, ...]
    plane: tuple[int, int]
    masks: str
    shares: tuple[Overlap, ...]
    headline: int
    scores: Correlations | None
    min_iou: float
    on_model: OnModel | None = None

    def to_json(self) -> dict:
        """Return JSON values; what a model says stands beside the rest, and without one `unfiltered` is null."""
        values = typed_json.to_json(self)
        on_model = values.pop("on_model")
        return values | (on_model or {"unfiltered": None})
