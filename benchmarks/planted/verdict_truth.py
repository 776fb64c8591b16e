"""Measure by the generator's own counterfactual whether a trained network relies on the planted cue.

recall   share of images of class c predicted as c, in [0, 1]
fpr      share of images of other classes predicted as c
given    the same, with the cue of c added
base     the same without it; `given` and `base` leave the image's own class out of the argmax unless K = 2
without  share of images of class c, drawn without their cue, predicted as c
effect   ((given - base) + (recall - without)) / 2
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from benchmarks.planted.verdict_sets import FEW_ORBITS, CueSet
from fsjax.engine.model import Model

RECOGNISED = 0.5  # least recall - fpr
USED, UNUSED = 0.7, 0.3  # effect, relative to recall, of a cue that is used, and effect of one that is not
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth about a class under a network; rates as at the top of this file.

    Attributes:
      kind: of the class's cue.
      base, given, effect: None for `default`, which has no cue.
      label: 'positive' (a frequency shortcut), 'negative', or None: between the two, not scored.
      row: where the benchmark's table counts the class: its kind, 'not recognised', 'unused' (few orbits were planted
        and the network does not rely on them), 'ignored used' (it does rely on the plant beside an easy cue).
    """

    kind: str
    recall: float
    fpr: float
    base: float | None
    given: float | None
    without: float
    effect: float | None
    label: str | None
    row: str


def truths(model: Model, cue_set: CueSet, n: int = 500, rng_seed: int = 0) -> tuple[Truth, ...]:
    """Return the truth of every class, from n images of the class and n of the others, equal over these."""
    return tuple(_truth(model, cue_set, label, n, rng_seed) for label in range(cue_set.num_classes))


def _truth(model: Model, cue_set: CueSet, label: int, n: int, rng_seed: int) -> Truth:
    kind, classes = cue_set.kinds[label], cue_set.num_classes
    own = np.full(n, label)
    others = np.delete(np.arange(classes), label)[np.arange(n) % (classes - 1)]
    left_out = others if classes > 2 else None
    recall = called(model, cue_set.draw(own, rng_seed), label)
    without = called(model, cue_set.draw(own, rng_seed, without=True), label)
    plain = cue_set.draw(others, rng_seed)
    fpr = called(model, plain, label)
    base = given = effect = None
    if kind != "default":
        base = called(model, plain, label, left_out)
        given = called(model, cue_set.draw(others, rng_seed, given=label), label, left_out)
        effect = ((given - base) + (recall - without)) / 2
    return Truth(
        kind, recall, fpr, base, given, without, effect, *decide(kind, recall, fpr, base, given, without, effect)
    )


def decide(
    kind: str, recall: float, fpr: float, base: float | None, given: float | None, without: float, effect: float | None
) -> tuple[str | None, str]:
    """Return the label of a class and its row in the table, from the rates at the top of this file."""
    if recall - fpr < RECOGNISED:
        return "negative", "not recognised"
    if kind not in (*FEW_ORBITS, "ignored") or base is None or given is None or effect is None:
        return "negative", kind
    if kind == "ignored":
        if given - base <= UNUSED and without >= USED * recall:
            return "negative", "ignored"
        kind = "ignored used"
    if effect >= USED * recall:
        return "positive", kind
    return ("negative", "unused") if effect <= UNUSED else (None, kind)


def called(
    model: Model,
    images: Float[np.ndarray, "n height width channels"],
    label: int,
    left_out: Int[np.ndarray, " n"] | None = None,
) -> float:
    """Return the share of images that the model predicts as `label`, without the class `left_out` of each."""
    logits = np.concatenate(
        [
            np.asarray(_logits(model.apply, model.params, jnp.asarray(images[start : start + _BATCH])))
            for start in range(0, len(images), _BATCH)
        ]
    )
    if left_out is not None:
        logits[np.arange(len(logits)), left_out] = -np.inf
    return float((logits.argmax(-1) == label).mean())


@functools.partial(jax.jit, static_argnums=0)
def _logits(apply: Callable, params: dict, images: Array) -> Array:
    return apply(params, images)
