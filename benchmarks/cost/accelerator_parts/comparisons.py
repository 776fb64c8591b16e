"""Losses beside the CPU's, and speeds beside the device's peak."""

import jax
import jax.numpy as jnp
import numpy as np

from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.fourier import patches
from fsjax.models.network import Network
from fsjax.search.removal import removal_masks

# Dense peaks of one device, TFLOP/s: TF32, float32 without tensor cores, bfloat16. From the makers' data sheets: NVIDIA
# H100 (SXM5), H200 (SXM) and A100 Tensor Core GPU, without sparsity; Google Cloud, "TPU v5e" system architecture, which
# gives bfloat16 alone.
PEAKS: dict[str, tuple[float | None, float | None, float | None]] = {
    "NVIDIA H100 80GB HBM3": (494.7, 66.9, 989.4),
    "NVIDIA H200": (494.7, 66.9, 989.4),
    "NVIDIA A100-SXM4-80GB": (156.0, 19.5, 312.0),
    "NVIDIA A100-SXM4-40GB": (156.0, 19.5, 312.0),
    "TPU v5 lite": (None, None, 197.0),
}
_MODES = ("tensorfloat32", "highest", "bfloat16")


def loss_difference(
    model: Model, reference: Model, images: np.ndarray, labels: np.ndarray, *, masks: int, tile_images: int
) -> float:
    """Return the largest difference of the images' mean loss from the CPU's, relative where the loss is above 1 nat.

    The CPU computes in float32, on images that NumPy filters in float64.

    Args:
      model: the classifier in the checked precision.
      reference: the classifier in float32.
      images: [n, H, W, 3], normalised.
      labels: [n].
      masks: number of masks of a removal search, from the first.
      tile_images: images of the measured tiles, so that the device chooses the same algorithms.
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


def utilisation(
    passes_per_second: float, network: Network, precision: str, peaks: tuple[float, ...] = ()
) -> dict[str, float | None]:
    """Return `tflops` of all devices, and `share_of_peak`, None where the device's peak in this mode is unknown.

    Args:
      passes_per_second: forward passes of one image, or their equivalents.
      network: the network.
      precision: tensorfloat32, highest or bfloat16.
      peaks: peaks of a device that is not in PEAKS.
    """
    tflops = passes_per_second * forward_flops(network) / 1e12
    peak = (peaks or PEAKS.get(jax.devices()[0].device_kind, (None,) * 3))[_MODES.index(precision)]
    return {"tflops": tflops, "share_of_peak": peak and tflops / len(jax.devices()) / peak}


def forward_flops(network: Network) -> float:
    """Return XLA's count of FLOPs of one image's forward pass; a multiply-add counts as two."""
    variables = jax.eval_shape(lambda: network.init(0))
    image = jax.ShapeDtypeStruct((1, network.image_size, network.image_size, 3), jnp.float32)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return float(jax.jit(network.apply).lower(variables, image).cost_analysis()["flops"])
