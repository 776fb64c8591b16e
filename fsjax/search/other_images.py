"""A pool of images of all classes, which stand for a class's others."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.problem import Problem

# Images of the pool, drawn from all classes as evenly as can be.
_IMAGES = 512


@dataclasses.dataclass(frozen=True)
class OtherImages:
    """Images of all classes; for a class those of other classes count.

    Attributes:
      images: [n, H, W, C], normalised.
      labels: class of each.
    """

    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"]


def draw(problem: Problem) -> OtherImages:
    """Return images drawn by seed; of a thousand classes some have no image among them."""
    rng = generator(problem.seed, Stream.MASK_SELECTION_OTHERS)
    each = max(2, -(-_IMAGES // len(problem.counts)))
    classes = np.arange(len(problem.counts))
    if each * len(classes) > 2 * _IMAGES:
        classes = np.sort(rng.choice(classes, _IMAGES // each, replace=False))
    images, labels = [], []
    for label in classes.tolist():
        of_class = problem.images(label)
        rows = np.sort(rng.choice(len(of_class), min(each, len(of_class)), replace=False))
        images.append(of_class[rows])
        labels += [label] * len(rows)
    return OtherImages(np.concatenate(images), np.array(labels))
