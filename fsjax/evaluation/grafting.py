"""Judge the maps of a search method by grafts: pairs, masks and outcomes of each class, then rates and the verdicts.

Examples:
  >>> len(curve_shares(8, 8))
  10
  >>> grafts_a_class(pairs=20, shares=10)
  3000
  >>> candidates = Candidates(maps.classes, maps.shares, (True,) * len(maps.shares), lambda label: maps.masks[:, label])
  >>> sample = GraftSample(
  ...     images=lambda indices: test_images[indices], labels=test_labels, usable=np.arange(len(test_labels)),
  ...     tpr=np.ones(3), fpr=np.zeros(3), pairs=20, seed=0, why_none="",
  ... )
  >>> [verdict.kind for verdict in judge(as_model(model, test_images, 3), candidates, sample).verdicts]
  ['default class', 'shortcut', 'coarse']
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Bool

from fsjax.data.selection import Pairs
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation import graft_summary, grafts, verdict
from fsjax.evaluation.graft_masks import EQUAL_CHANGE, KINDS, RADIAL, GraftMasks
from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Grafts
from fsjax.evaluation.grafts import GraftSample
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

# Masks of a class beside those of its shares, at most: the empty one, controls, and the contents of the map.
_MORE_MASKS = 1 + RADIAL + EQUAL_CHANGE + 1 + 2 + 1
# Shares of a curve: their number, the largest, and the least that is of interest on a large plane.
_POINTS, _LARGEST, _LEAST = 10, 0.5, 0.001


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Masks of every class at ascending shares of the plane.

    Attributes:
      names: of the classes.
      shares: in (0, 1].
      tested: whether a verdict may rest on a share.
      masks: class -> its masks.
      kinds: of masks that are grafted at every share, of graft_masks.KINDS; the map first.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    tested: tuple[bool, ...]
    masks: Callable[[int], Bool[np.ndarray, "shares height width"]]
    kinds: tuple[str, ...] = KINDS


def curve_shares(height: int, width: int) -> tuple[float, ...]:
    """Return shares of the plane, ascending, each larger than the one before by the same factor: one orbit or more."""
    shares = np.geomspace(max(2 / (height * width), _LEAST), _LARGEST, _POINTS)
    # Rounded up, so that the first has room for its orbit.
    return tuple((np.ceil(shares * 1e5) / 1e5).tolist())


def grafts_a_class(pairs: int, shares: int, kinds: Sequence[str] = KINDS) -> int:
    """Return how many grafts `judge` makes for a class, at most: with so many pairs, shares and kinds of masks."""
    return grafts.GRAFTS_A_PAIR * pairs * (len(kinds) * shares + _MORE_MASKS)


def judge(
    model: Model,
    candidates: Candidates,
    sample: GraftSample,
    *,
    memory_mib: int = 0,
    directory: Path | None = None,
    engine: Engine | None = None,
) -> Grafts:
    """Measure every class's masks by grafts, and give the verdicts. Collective: processes share the classes.

    Args:
      model: the classifier.
      candidates: the masks.
      sample: the images.
      memory_mib: as in config.run.
      directory: where outcomes are stored, so that a restart computes only the rest; None = nowhere.
      engine: of `grafts.make_engine` for this model; None = made here.

    Raises:
      InputError: too little memory, or outcomes of another search in the directory.
      interrupt.Terminated: SIGTERM came; what is computed is saved.
    """
    count, shares, kinds = len(candidates.names), candidates.shares, candidates.kinds
    drawn = [sample.draw(label) for label in range(count)]
    layout = grafts.layout(model, sample.pairs, memory_mib)
    partial_results = PartialResults(directory, layout, model.params)
    engine = engine or grafts.make_engine(model, partial_results.layout)
    summaries = [graft_summary.nothing(len(shares), kinds)] * count
    own = [label for label in range(count)[parallel.share(count)] if len(drawn[label])]
    level = verdict.level(count, sum(candidates.tested))
    of_class = grafts_a_class(sample.pairs, len(shares), kinds)
    with Progress("evaluate grafts", len(own) * of_class, "grafts") as progress:
        for number, label in enumerate(own, 1):
            of_label = grafts.ClassGrafts(engine, sample, label, drawn[label], partial_results, progress)
            energies = (of_label.class_energy, of_label.others_energy, of_label.differences)
            masks = GraftMasks(candidates.masks(label), sample.seed, label, *energies)
            summaries[label] = graft_summary.summarise(
                of_label, masks, shares, candidates.tested, kinds, level, sample.seed
            )
            progress.skip(number * of_class - progress.count)  # a map without DC has a mask less
    merged = jax.tree.map(lambda *values: parallel.merge(np.stack(values)), *[vars(of) for of in summaries])
    return _results(candidates, sample, drawn, merged)


def _results(candidates: Candidates, sample: GraftSample, drawn: list[Pairs], merged: dict) -> Grafts:
    """Return what the summaries of all classes say; arrays of `merged` have the classes first."""
    baseline = Baseline(
        pairs=np.array([len(of_class) for of_class in drawn]),
        donors=np.array([len(np.unique(of_class.donors)) for of_class in drawn]),
        recipients=np.array([len(np.unique(of_class.recipients)) for of_class in drawn]),
        base=merged["base"],
    )
    curves = {
        kind: Curve(
            **{name: np.moveaxis(values, 0, 1) if name.startswith("psi") else values for name, values in of.items()}
        )
        for kind, of in merged["curves"].items()
    }
    rates = GraftRates(**merged["rates"])
    tested = tuple(share for share, is_tested in zip(candidates.shares, candidates.tested, strict=True) if is_tested)
    verdicts = verdict.of_classes(
        candidates.names, sample.tpr, sample.fpr, baseline, rates, len(tested), curves, sample.why_none
    )
    return Grafts(baseline, rates, tested, candidates.shares, curves, verdicts)
