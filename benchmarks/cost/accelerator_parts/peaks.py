"""Peak speeds of devices, and the operations that a network takes."""

import jax
import jax.numpy as jnp

from fsjax.models.network import Network

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


def utilisation(
    passes_per_second: float, network: Network, precision: str, peaks: tuple[float, ...] = ()
) -> dict[str, float | None]:
    """Return `tflops` of all devices, and `share_of_peak`, None if the device's peak in this mode is not known.

    Args:
      passes_per_second: forward passes of one image, or what counts as one.
      network: whose passes these are.
      precision: tensorfloat32, highest or bfloat16.
      peaks: of a device that is not in PEAKS.
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
