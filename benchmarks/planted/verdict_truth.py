"""Measure by the generator's own counterfactual whether a trained network relies on the planted cue.

recall   share of images of class c predicted as c, in [0, 1]
fpr      share of images of other classes predicted as c
given    the same, with the cue of c added
base     the same without it; `given` and `base` leave the image's own class out of the argmax unless K = 2, but not for
         triggers
without  share of images of class c, drawn without their cue, predicted as c
effect   ((given - base) + (recall - without)) / 2
few      of photographs: the effect of the cue's 5 % of the plane that stand out most, over the effect of the whole cue;
         of broadband cues, that of a searched map if it is larger: such a map proves that few frequencies suffice
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from benchmarks.planted import photograph_cues
from benchmarks.planted.photograph_sets import PhotographSet
from benchmarks.planted.verdict_sets import FEW_ORBITS, CueSet
from fsjax.engine.model import Model
from fsjax.fourier import masks, spectrum

RECOGNISED = 0.5  # least recall - fpr
USED, UNUSED = 0.7, 0.3  # effect, relative to recall, of a cue that is used, and effect of one that is not
CONCENTRATED, BROAD = 0.7, 0.5  # least `few` of few orbits, and most of a broadband cue
GIVEN, NOT_GIVEN = 0.5, 0.2  # given - base of a trigger, and of a cue that is none
_SHARE, _COMPARED = 0.05, 200  # of the plane, and pairs of images, for `few`
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth about a class under a network; rates as at the top of this file.

    Attributes:
      kind: of the class's cue.
      base, given, effect: None for `default` and `photograph`, which have no cue.
      few: None for noise, for triggers and where the effect is small.
      label: 'positive' (a frequency shortcut), 'trigger', 'negative', or None: in between, not scored.
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
    few: float | None
    label: str | None
    row: str


def truths(
    model: Model,
    cue_set: CueSet | PhotographSet,
    maps: Bool[np.ndarray, "classes height width"] | None = None,
    n: int = 500,
    rng_seed: int = 0,
) -> tuple[Truth, ...]:
    """Return the truth of every class, from n images of the class and n of the others, equal over these.

    maps: of a search, of 5 % of the plane, for `few`.
    """
    found = [()] * cue_set.num_classes if maps is None else [(mask,) for mask in maps]
    return tuple(_truth(model, cue_set, label, found[label], n, rng_seed) for label in range(cue_set.num_classes))


def _truth(
    model: Model, cue_set: CueSet | PhotographSet, label: int, maps: Sequence[np.ndarray], n: int, rng_seed: int
) -> Truth:
    kind, classes = cue_set.kinds[label], cue_set.num_classes
    own = np.full(n, label)
    others = np.delete(np.arange(classes), label)[np.arange(n) % (classes - 1)]
    left_out = others if classes > 2 and kind not in photograph_cues.TRIGGERS else None
    own_images, own_without = cue_set.draw(own, rng_seed), cue_set.draw(own, rng_seed, without=True)
    recall, without = called(model, own_images, label), called(model, own_without, label)
    plain = cue_set.draw(others, rng_seed)
    fpr = called(model, plain, label)
    base = given = effect = few = None
    if kind not in ("default", "photograph"):
        with_cue = cue_set.draw(others, rng_seed, given=label)
        base, given = called(model, plain, label, left_out), called(model, with_cue, label, left_out)
        effect = ((given - base) + (recall - without)) / 2
        if isinstance(cue_set, PhotographSet) and kind not in photograph_cues.TRIGGERS and effect > UNUSED:
            few = -np.inf
            for mask in [
                standing_out(own_images, own_without, plain),
                *(maps if kind in photograph_cues.OTHER else ()),
            ]:
                given_few = called(model, _grafted(plain, with_cue, mask), label, left_out)
                without_few = called(model, _grafted(own_images, own_without, mask), label)
                few = max(few, ((given_few - base) + (recall - without_few)) / 2 / effect)
    rates = recall, fpr, base, given, without, effect, few
    return Truth(kind, *rates, *decide(kind, *rates))


def decide(
    kind: str,
    recall: float,
    fpr: float,
    base: float | None,
    given: float | None,
    without: float,
    effect: float | None,
    few: float | None = None,
) -> tuple[str | None, str]:
    """Return the label of a class and its row in the table, from the rates at the top of this file."""
    if kind in photograph_cues.TRIGGERS and given is not None and base is not None:
        if given - base >= GIVEN and without >= USED * recall and recall - fpr >= RECOGNISED:
            return "trigger", kind
        if given - base > NOT_GIVEN:
            return None, kind
    if recall - fpr < RECOGNISED:
        return "negative", "not recognised"
    # A shape is local, however well few orbits stand for it.
    if few is not None and effect is not None and kind in photograph_cues.OTHER and kind != "disc":
        return None if effect >= USED * recall and few > BROAD else "negative", kind
    if kind not in (*FEW_ORBITS, *photograph_cues.FEW_ORBITS, "ignored") or None in (base, given, effect):
        return "negative", kind
    if kind == "ignored":
        if given - base <= UNUSED and without >= USED * recall:
            return "negative", "ignored"
        kind = "ignored used"
    if effect >= USED * recall:
        return "positive" if few is None or few >= CONCENTRATED else None, kind
    return ("negative", "unused") if effect <= UNUSED else (None, kind)


def standing_out(
    cued: Float[np.ndarray, "n height width channels"],
    without: Float[np.ndarray, "n height width channels"],
    others: Float[np.ndarray, "n height width channels"],
) -> Bool[np.ndarray, "height width"]:
    """Return the 5 % of the plane where a cue stands out most from what images differ by anyway.

    Orbits are ranked by the mean energy of what the cue changes in an image, summed over channels, over the energy by
    which that image differs from another class's: where this ratio is large, the cue can be read.
    """

    def energy(images: np.ndarray) -> np.ndarray:
        plane = np.square(abs(np.fft.fft2(images[:_COMPARED], axes=(1, 2)))).sum(-1).mean(0)
        return np.fft.fftshift(plane)

    return masks.within_share(energy(cued - without) / (energy(without - others) + 1e-9), _SHARE)


def _grafted(recipients: np.ndarray, donors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    part = spectrum.filter_images(jnp.asarray(donors - recipients), jnp.asarray(mask)[None])[0]
    return recipients + np.asarray(part)


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
