"""Losses under masks as a CPU computes them, in float32 on images that NumPy filters in float64."""

import jax
import numpy as np

from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.fourier import patches
from fsjax.search.removal import removal_masks


def loss_difference(
    model: Model, reference: Model, images: np.ndarray, labels: np.ndarray, *, masks: int, tile_images: int
) -> float:
    """Return the largest difference of the images' mean loss from the CPU's, relative where the loss is above 1 nat.

    Args:
      model: the classifier in the precision that is checked.
      reference: the classifier in float32.
      images: [n, H, W, 3], normalised.
      labels: [n].
      masks: of a removal search, from the first.
      tile_images: of the tiles that were measured, so that the device chooses the same algorithms.
    """
    engine, listed = Engine(model, tile_images=tile_images), removal_masks(model.image_shape[:2], 1)[np.arange(masks)]
    batches = engine.image_batches(images, labels, size=min(len(images), tile_images))
    found = engine.sums(batches, listed)["loss"][:, 0] / len(images)
    expected = losses_on_cpu(reference, images, labels, masks)
    return float(np.max(np.abs(found - expected) / np.maximum(1, expected)))


def losses_on_cpu(model: Model, images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the images' mean loss under the first masks of a removal search, in nats: [masks]."""
    cpu = jax.local_devices(backend="cpu")[0]
    height, width = model.image_shape[:2]
    forward = jax.jit(lambda params, images: jax.nn.log_softmax(model.apply(params, images)))
    spectra = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
    losses = []
    with jax.default_device(cpu), jax.default_matmul_precision("highest"):
        params = jax.device_put(jax.device_get(model.params), cpu)
        for mask in np.asarray(patches.without(removal_masks((height, width), 1)[:count], height, width)):
            kept = np.fft.ifftshift(spectra * mask[None, :, :, None], axes=(1, 2))
            logits = forward(params, np.fft.ifft2(kept, axes=(1, 2)).real.astype(np.float32))
            losses.append(-np.asarray(logits, float)[np.arange(len(labels)), labels].mean())
    return np.array(losses)
