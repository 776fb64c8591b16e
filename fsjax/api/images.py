"""Grafts, filters and attributions of single images, for any model that `analyse` takes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from fsjax.data.splits import normalised_images
from fsjax.evaluation import attribution
from fsjax.fourier import spectrum
from fsjax.models.callables import as_model
from fsjax.runtime.errors import InputError


class Graft(NamedTuple):
    """Images with frequencies of other images, their logits, and the logits `before`, of the unchanged recipients."""

    images: Float[np.ndarray, "n height width channels"]
    logits: Float[np.ndarray, "n outputs"]
    before: Float[np.ndarray, "n outputs"]


def graft(model: Any, recipients: ArrayLike, donors: ArrayLike, mask: ArrayLike) -> Graft:
    """Put frequencies of some images into others: Re F^-1[(1 - M) F r + M F d] for recipient r and donor d.

    Args:
      model: as for `analyse`.
      recipients, donors: [n, H, W, C], normalised, a donor for each recipient.
      mask: True where a frequency comes from the donor, [H, W] on the centred plane.

    Examples:
      >>> recipients, donors = images[labels == 0], images[labels == 1]
      >>> grafts = fsjax.graft(model, recipients, donors, maps.at(0.05)[1])
      >>> float((grafts.before.argmax(1) == 1).mean()), float((grafts.logits.argmax(1) == 1).mean())
      (0.0, 1.0)
    """
    recipients, donors = normalised_images(recipients, "recipients"), normalised_images(donors, "donors")
    if donors.shape != recipients.shape:
        raise InputError(f"donors: got shape {donors.shape}; expected {recipients.shape}, one for each recipient")
    checked = _mask(mask, recipients.shape[1:3])
    classifier = as_model(model, recipients, 1)
    grafted = spectrum.graft(jnp.asarray(recipients), jnp.asarray(donors), checked)
    with jax.default_matmul_precision(classifier.matmul_precision):
        inputs = jnp.concatenate([grafted, jnp.asarray(recipients)])
        logits = np.asarray(jax.jit(classifier.apply)(classifier.params, inputs))
    return Graft(np.asarray(grafted), *np.split(logits, 2))


def filter(images: ArrayLike, mask: ArrayLike) -> Float[np.ndarray, "n height width channels"]:
    """Keep only the frequencies of a mask in images: Re F^-1[M F x], channel by channel.

    Images are floats [n, H, W, C]; the mask is [H, W] on the centred plane, where DC is at (H // 2, W // 2).

    Examples:
      >>> dc = np.zeros((8, 8), bool)
      >>> dc[4, 4] = True
      >>> np.allclose(fsjax.filter(images, dc), images.mean((1, 2), keepdims=True), atol=1e-6)
      True
    """
    images = normalised_images(images, "images")
    mask = _mask(mask, images.shape[1:3])
    return np.asarray(spectrum.filter_images(jnp.asarray(images), jnp.asarray(mask[None])))[0]


def attribute(
    model: Any,
    images: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    shares: Sequence[float] | None = None,
    steps: int = 8,
    refinements: int = 24,
    seed: int = 0,
) -> attribution.Attribution:
    """Rank the frequencies of single images by their effect on the prediction, and find sets that suffice for it.

    Scores are integrated gradients (Sundararajan, Taly and Yan, ICML 2017) in the Fourier basis: an orbit's
    contribution, in nats, to the log-odds of the predicted class on the straight path from a baseline to the image.

    Args:
      model: as for `analyse`, with two or more classes.
      baseline: an image without the frequencies, such as a blurred copy: [H, W, C] for all images, or one for each.
        None = zeros, the mean colour of normalised images.
      shares: shares of the plane, in (0, 1], at which sets are inserted and removed; None = 0.5 to 32 %.
      steps: points of the straight path; each costs 3 forward passes per image.
      refinements: gradients that refine the order, at the same cost; 0 = order by scores.

    Examples:
      >>> found = fsjax.attribute(model, images[labels == 1][:4])
      >>> found.smallest_shares.tolist()  # of the plane: what suffices for each prediction
      [0.03125, 0.03125, 0.03125, 0.03125]
      >>> found.masks(0.04).shape  # bool [n, H, W]: the 4 % of each image that decided
      (4, 8, 8)
    """
    images = normalised_images(images, "images")
    baselines = np.zeros((), np.float32) if baseline is None else np.asarray(baseline, np.float32)
    if baseline is not None and baselines.shape not in (images.shape, images.shape[1:]):
        raise InputError(f"baseline: got shape {baselines.shape}; expected {images.shape[1:]} or {images.shape}")
    grafts = attribution.BaselineGrafts(as_model(model, images, 2), images, np.broadcast_to(baselines, images.shape))
    return attribution.attribute(grafts, shares=shares, steps=steps, refinements=refinements, seed=seed)


def _mask(mask: ArrayLike, plane: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    mask = np.asarray(mask)
    if mask.shape != plane or mask.dtype != bool:
        raise InputError(f"mask: got {mask.dtype} of shape {mask.shape}; expected bool of shape {plane}")
    return mask
