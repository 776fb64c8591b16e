"""Scores of masks on planted sets: recovery of the planted orbits, and TPR and FPR of a classifier under the masks."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from benchmarks.planted.sets import PlantedSet
from fsjax.evaluation.evaluate import recovery
from fsjax.fourier import spectrum


def score(
    masks: Bool[np.ndarray, "classes size size"],
    data: PlantedSet,
    logits_fn: Callable,
    scores: Float[np.ndarray, "classes size size"] | None = None,
) -> dict[str, int | float | None]:
    """Return means over the classes that own planted orbits; masks are bool on the centred plane.

    An orbit counts as kept if the mask has one of its positions.

    Returns:
      planted_orbits, kept_orbits: number of orbits planted in each class, and number that its mask keeps.
      precision, recall: the kept orbits that are planted, over the kept and over the planted orbits.
      average_precision: average precision of the ranking by `scores`; None without scores.
      sufficient: share of the classes with a mask that keeps all their groups; for `redundant`, one whole group.
      chance: recall of random orbits, as many as are planted.
      tpr, fpr: share of the test images of the class, and of other classes, predicted as the class under its mask.
    """
    owners = len(data.groups)
    overlaps = [_overlap(masks[label], data, label) for label in range(owners)]
    called = [called_share(logits_fn, data, label, masks[label]) for label in range(owners)]
    ranked = None
    if scores is not None:
        recovered = [recovery(scores[label], data.planted[label]) for label in range(owners)]
        ranked = float(np.mean([row.average_precision for row in recovered]))
    means = {name: float(np.mean([overlap[name] for overlap in overlaps])) for name in overlaps[0]}
    own = int(np.prod(data.groups.shape[1:3]))
    return {
        "planted_orbits": own,
        **means,
        "average_precision": ranked,
        "chance": own / len(spectrum.orbit_sizes(data.size, data.size)),
        "tpr": float(np.mean([tpr for tpr, _ in called])),
        "fpr": float(np.mean([fpr for _, fpr in called])),
    }


def called_share(
    logits_fn: Callable, data: PlantedSet, label: int, mask: Bool[np.ndarray, "size size"]
) -> tuple[float, float]:
    """Return (TPR, FPR) of a class on the test images under a mask, both in [0, 1]."""
    called = predict(logits_fn, data.images["test"], mask) == label
    own = data.labels["test"] == label
    return float(called[own].mean()), float(called[~own].mean())


def predict(
    logits_fn: Callable, images: Float[np.ndarray, "n size size 3"], mask: Bool[np.ndarray, "size size"]
) -> Int[np.ndarray, " n"]:
    """Return the predicted class of each image after filtering by the mask."""
    return np.asarray(_predict(logits_fn, jnp.asarray(images), jnp.asarray(mask)))


@functools.partial(jax.jit, static_argnums=0)
def _predict(logits_fn: Callable, images: Array, mask: Array) -> Array:
    return logits_fn(spectrum.filter_images(images, mask[None])[0]).argmax(-1)


def _overlap(mask: np.ndarray, data: PlantedSet, label: int) -> dict[str, float]:
    orbits = spectrum.orbits(data.size, data.size)
    kept, planted_here = np.unique(orbits[mask]), np.unique(orbits[data.planted[label]])
    hits = len(np.intersect1d(kept, planted_here))
    positions = data.groups[label]
    whole = mask[positions[..., 0], positions[..., 1]].all(-1)
    return {
        "kept_orbits": len(kept),
        "precision": hits / max(1, len(kept)),
        "recall": hits / len(planted_here),
        "sufficient": float(whole.any() if data.kind == "redundant" else whole.all()),
    }
