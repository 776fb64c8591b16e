"""Single images of any model that `analyse` takes: grafts, filters, and what keeps a prediction."""

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
    """Images with frequencies of others, and what a model says of them.

    Attributes:
      images: the grafts, [n, H, W, C].
      logits: of the grafts, [n, K].
      before: logits of the recipients as they are, [n, K].

    Examples:
      >>> grafts = fsjax.graft(model, images[labels == 0], images[labels == 1], maps.at(0.05)[1])  # a Graft
      >>> grafts.images.shape, grafts.logits.shape, grafts.before.shape
      ((15, 8, 8, 1), (15, 3), (15, 3))
    """

    images: Float[np.ndarray, "n height width channels"]
    logits: Float[np.ndarray, "n outputs"]
    before: Float[np.ndarray, "n outputs"]


def graft(model: Any, recipients: ArrayLike, donors: ArrayLike, mask: ArrayLike) -> Graft:
    """Put frequencies of some images into others, and ask the model what they are.

    A graft is Re F^-1[(1 - M) F r + M F d] of recipient r and donor d, channel by channel.

    Args:
      model: as of `analyse`.
      recipients: [n, H, W, C], normalised.
      donors: [n, H, W, C], normalised, one for each recipient.
      mask: True where a frequency is the donor's, [H, W] on the centred plane.

    Raises:
      InputError: a ValueError that names what cannot be used.

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
    of = as_model(model, recipients, 1)
    _, grafted = spectrum.graft(jnp.asarray(recipients), jnp.asarray(donors), checked)
    with jax.default_matmul_precision(of.matmul_precision):
        logits = np.asarray(jax.jit(of.apply)(of.params, jnp.concatenate([grafted, jnp.asarray(recipients)])))
    return Graft(np.asarray(grafted), *np.split(logits, 2))


def filter(images: ArrayLike, mask: ArrayLike) -> Float[np.ndarray, "n height width channels"]:
    """Return images that keep only a mask's frequencies, Re F^-1[M F x], channel by channel.

    Args:
      images: [n, H, W, C], floats.
      mask: True where a frequency is kept, [H, W] on the centred plane: DC is at (H // 2, W // 2).

    Raises:
      InputError: a ValueError that names what cannot be used.

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
    """Rank the frequencies of single images by what they add to the prediction, and find the sets that keep it.

    Every image is put into a baseline orbit by orbit. What an orbit adds to the log-odds of the predicted class on the
    straight way is its score, in nats: integrated gradients (Sundararajan, Taly and Yan, ICML 2017) in the Fourier
    basis. The order in which sets grow is refined where the sets lie; `fsjax.evaluation.attribution.attribute` says
    how. The sets show what suffices for this model and baseline; others of the same size may suffice as well.

    Args:
      model: as of `analyse`, of two or more classes.
      images: [n, H, W, C] as the model takes them: normalised, where it wants that. Any height, width and channels.
      baseline: what an image without the frequencies is: another image, a blurred copy, the mean of a class;
        [H, W, C] for all images, or one an image. None = zeros, an empty spectrum: mean colour of normalised images.
      shares: of the plane, in (0, 1], at which sets of the first orbits are put in and taken out; None = 0.5 to 32 %.
      steps: points of the straight path.
      refinements: slopes that refine the order, 3 forward equivalents an image each, as the steps; 0 = by the scores.
      seed: of the random order that stands beside.

    Raises:
      InputError: a ValueError that names what cannot be used.

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
    return attribution.attribute(
        as_model(model, images, 2),
        images,
        np.broadcast_to(baselines, images.shape),
        shares=shares,
        steps=steps,
        refinements=refinements,
        seed=seed,
    )


def _mask(mask: ArrayLike, plane: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    mask = np.asarray(mask)
    if mask.shape != plane or mask.dtype != bool:
        raise InputError(f"mask: got {mask.dtype} of shape {mask.shape}; expected bool of shape {plane}")
    return mask
