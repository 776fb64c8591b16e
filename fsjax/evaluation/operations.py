"""Measure which operations, such as JPEG, turn other classes' images into a class, whose images have their traces."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from fsjax.data.dataset import ArrayDataset
from fsjax.data.operations import NEUTRAL, OPERATIONS
from fsjax.engine.model import Model
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.statistics import wilson
from fsjax.evaluation.triggers import became
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress

# An operation is in use where it turns this much more of others' images into the class than any neutral one.
MARGIN = 0.2
# Images that meet each operation, over all classes; each class has one or more.
IMAGES = 500
_BATCH = 64  # images that meet an operation at once


class Became(NamedTuple):
    """Shares of other classes' images that become each class, in the order of OPERATIONS.

    share: the mean over images. beyond: its lower 95 % limit, less the largest share of a neutral operation.
    """

    share: Float[np.ndarray, "classes operations"]
    beyond: Float[np.ndarray, "classes operations"]

    @property
    def used(self) -> Bool[np.ndarray, "classes operations"]:
        """Return for each class the operation that goes furthest beyond, if that is above MARGIN."""
        furthest = np.nan_to_num(self.beyond, nan=-1)
        best = furthest.argmax(1)
        return (np.arange(furthest.shape[1]) == best[:, None]) & (furthest > MARGIN)


def measure(
    model: Model, levels: UInt8[np.ndarray, "n height width channels"], labels: Int[np.ndarray, " n"], seed: int
) -> Became:
    """Measure the operations on images with their labels. Collective: processes share the images.

    levels: of pixels, in [0, 255]; the model's mean and std normalise them. The seed draws the operations' strengths.
    """
    predict = make_predictor(model.apply, *model.mean_std, precision=model.matmul_precision)

    def predicted(levels: Num[np.ndarray, "n height width channels"]) -> Int[np.ndarray, " n"]:
        found = np.full(len(levels), np.nan)
        for rows, logits in predict(model.params, ArrayDataset(levels, labels, model.classes)):
            found[rows] = logits.argmax(-1)
            progress.update(len(rows))
        return parallel.merge(found).astype(int)

    with Progress("operations", (1 + len(OPERATIONS)) * len(levels), "images") as progress:
        before, after = predicted(levels), []
        keys = jax.random.split(jax.random.key(seed), len(levels))
        for operation in OPERATIONS.values():
            after.append(predicted(np.asarray(_over_images(operation)(keys, levels))))
    share, counts = became(labels, before, np.array(after), len(model.classes))
    could = np.broadcast_to(counts[:, None], share.shape)
    lower = wilson(np.rint(share * could), could)[..., 0]
    neutral = np.isin(list(OPERATIONS), NEUTRAL)
    beyond = lower - share[:, neutral].max(1, keepdims=True)
    return Became(share, np.where(neutral, -1, beyond))


@functools.cache  # one program for all rounds of probes
def _over_images(operation: Callable) -> Callable:
    """Return an operation of keys and levels [n, H, W, C], which takes the memory of a batch of images."""

    def one(drawn: tuple[Array, Array]) -> Array:
        return 255 * jnp.clip(operation(drawn[0], drawn[1] / np.float32(255)), 0, 1)

    return jax.jit(lambda keys, levels: jax.lax.map(one, (keys, levels), batch_size=_BATCH))
