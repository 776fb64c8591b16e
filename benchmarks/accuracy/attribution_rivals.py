"""Orders of single images' frequencies by other methods, for benchmarks/accuracy/attribution.py.

Scores are [n, H, W, C or 1] on the centred plane, larger first. A gradient counts as three forward passes.

ffc       Liu et al., arXiv 2411.18343. The image x takes steps of length 1,000 down the gradient of the cross-entropy
          to its prediction, to x'. A frequency of a channel scores 2 Re(conj(F x') F x) / |F x| - |F x|. Their script
          GroundTruthExperiment/ffc.py puts x for x' and so ranks by |F x|; the one of their other experiments does not.
freqrise  Bruesch et al., arXiv 2406.13584: E[p(x with F x times M) M] / E[M] over random masks M, where p is the
          probability of the prediction. The paper has time series; masks of images are drawn here as RISE draws them
          (Petsiuk et al., BMVC 2018): cells are 0 or 1, interpolated and shifted.
energy    |F x|^2, summed over channels.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int, PyTree

from fsjax.engine.model import Model
from fsjax.engine.programs import cached_program
from fsjax.fourier import masks, spectrum
from fsjax.search import graft

Images = Float[np.ndarray, "n height width channels"]
Labels = Int[np.ndarray, " n"]
Orders = Float[np.ndarray, "n height width channels_or_1"]

_STEP = 1000
# Images of a call of the model, between these, and pixels.
_LEAST, _MOST, _PIXELS = 8, 96, 2**17


def ffc(model: Model, images: Images, labels: Labels, steps: Sequence[int]) -> list[Orders]:
    """Return the scores of each channel after these numbers of steps, in rising order."""
    step, batch = program(model, _ffc_step), batch_size(images)
    moved, before, scores = images, _spectra(images), []
    size = np.abs(before)
    for number in range(1, max(steps) + 1):
        moved = graft.in_batches(step, batch, moved, labels).reshape(images.shape)
        if number in steps:
            scores.append(2 * (_spectra(moved).conj() * before).real / np.maximum(size, 1e-12) - size)
    return scores


def freqrise(model: Model, images: Images, labels: Labels, drawn: Float[np.ndarray, "masks height width"]) -> Orders:
    """Return the scores by these masks, which are constant on orbits."""
    probability, count, scores = program(model, _probability), len(drawn), []
    for image, label in zip(images, labels, strict=True):
        repeated = np.broadcast_to(image, (count, *image.shape)), np.full(count, label)
        given = graft.in_batches(probability, batch_size(repeated[0]), *repeated, drawn[..., None])
        scores.append(np.tensordot(given[:, 0].astype(float), drawn, 1) / drawn.sum(0))
    return np.stack(scores)[..., None]


def draw_masks(plane: tuple[int, int], count: int, cells: int, seed: int) -> Float[np.ndarray, "masks height width"]:
    """Draw masks of cells x cells Bernoulli variables, and more at the borders, in [0, 1]."""
    rng, each = np.random.default_rng(seed), [-(-side // cells) for side in plane]
    drawn = []
    for _ in range(count):
        grid = (rng.random((cells + 1, cells + 1)) < 0.5).astype(float)
        smooth = scipy.ndimage.zoom(grid, each, order=1)
        top, left = rng.integers(0, each[0] + 1), rng.integers(0, each[1] + 1)
        mask = smooth[top : top + plane[0], left : left + plane[1]]
        drawn.append(spectrum.per_orbit(mask)[spectrum.orbits(*plane)])
    return np.stack(drawn).astype(np.float32)


def energy(images: Images) -> Orders:
    return np.square(np.abs(_spectra(images))).sum(-1, keepdims=True)


def first(order: Orders, share: float) -> Bool[np.ndarray, "n height width channels_or_1"]:
    """Return the orbits, of single channels where the order has channels, of the largest scores within a share."""
    plane, channels = order.shape[1:3], order.shape[3]
    # The mean of both members, which rounding tells apart.
    scores = spectrum.per_orbit(np.moveaxis(order, 3, 1) + spectrum.conjugate(np.moveaxis(order, 3, 1)))
    sizes, positions = (
        np.tile(spectrum.orbit_sizes(*plane), channels),
        masks.budget(share, channels * plane[0], plane[1]),
    )
    chosen = masks.best(scores.reshape(len(order), -1), sizes, positions).reshape(scores.shape)
    return np.moveaxis(chosen[..., spectrum.orbits(*plane)], 1, 3)


def outcomes(
    model: Model, images: Images, labels: Labels, chosen: Bool[np.ndarray, "n height width channels_or_1"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the probability of labels with these frequencies alone, and whether the model predicts them."""
    logits = graft.in_batches(program(model, _filtered_logits), batch_size(images), images, chosen)
    return scipy.special.softmax(logits, axis=1)[np.arange(len(labels)), labels], logits.argmax(1) == labels


def batch_size(images: Images) -> int:
    return min(len(images), _MOST, max(_LEAST, _PIXELS // images[0, ..., 0].size))


def program(model: Model, function: Callable) -> Callable:
    """Return a function (apply, params, ...) as a function of the rest, compiled once for a model's `apply`."""
    compiled = cached_program(model.apply, function, lambda: jax.jit(functools.partial(function, model.apply)))
    return functools.partial(compiled, model.params)


def _ffc_step(apply: Callable, params: PyTree, images: Array, labels: Array) -> Array:
    def loss(images: Array) -> Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(apply(params, images)), labels[:, None], 1).sum()

    return (images - _STEP * jax.grad(loss)(images)).reshape(len(images), -1)


def _probability(apply: Callable, params: PyTree, images: Array, labels: Array, masks: Array) -> Array:
    probabilities = jax.nn.softmax(_filtered_logits(apply, params, images, masks))
    return jnp.take_along_axis(probabilities, labels[:, None], 1)


def _filtered_logits(apply: Callable, params: PyTree, images: Array, masks: Array) -> Array:
    spectra = jnp.fft.fft2(images, axes=(1, 2)) * jnp.fft.ifftshift(masks, axes=(1, 2))
    return apply(params, jnp.fft.ifft2(spectra, axes=(1, 2)).real)


def _spectra(images: Images) -> np.ndarray:
    return np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
