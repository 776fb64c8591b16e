"""model.check: a few images, and the logits that PyTorch gave for them, held against a run's weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError

# Images that are compared, and the largest difference of logits, over their standard deviation: frameworks differ by
# a hundredth of it in float32, and an epsilon of 1e-3 in place of 1e-5 by more.
_IMAGES, _APART = 16, 1e-3


def check(path: str, apply: Callable, params: PyTree, image_size: int, field: str = "model.check") -> str:
    """Return how far the logits of apply(params, images) are from those of a file, in words.

    Args:
      path: of an .npz: `images` float [n, 3, S, S] as the PyTorch module takes them, normalised, and `logits` [n, K].
      apply: (params, images [n, S, S, 3]) -> logits [n, K].
      params: its first argument.
      image_size: S.
      field: what messages call the file.

    Raises:
      InputError: the file holds something else, or the logits differ by more than a thousandth of their spread.
    """
    content = files.read_npz(storage.path(path), ("images", "logits"))
    images, logits = content["images"][:_IMAGES], content["logits"][:_IMAGES]
    if images.shape[1:] != (3, image_size, image_size) or images.dtype.kind != "f" or not len(images):
        expected = f"floats of [n, 3, {image_size}, {image_size}], normalised"
        raise InputError(f"{field}: got images of {images.dtype} {list(images.shape)} in {path}; expected {expected}")
    if logits.ndim != 2 or len(logits) != len(images) or logits.dtype.kind != "f":
        raise InputError(f"{field}: got logits {list(logits.shape)} in {path}; expected floats of [{len(images)}, K]")
    if not np.isfinite(images).all() or not np.isfinite(logits).all() or not logits.std():
        raise InputError(f"{field}: got logits or images in {path} that are not finite, or all alike; expected others")
    with jax.default_matmul_precision("highest"):
        found = _logits(apply, params, np.moveaxis(images, 1, -1).astype(np.float32))
    if found.shape != logits.shape:
        raise InputError(f"{field}: got {logits.shape[1]} logits an image in {path}; expected {found.shape[1]}")
    difference, spread = float(np.abs(found - logits).max()), float(logits.std())
    if not difference <= _APART * spread:
        raise InputError(
            f"{field}: got logits that differ from PyTorch's in {path} by {difference:.2g}, where they spread by "
            f"{spread:.2g}; expected at most {_APART * spread:.2g}: weights of another model, or images of another "
            "normalisation"
        )
    return f"logits are those of {path}, to {difference:.1g}"


def _logits(apply: Callable, params: PyTree, images: Float[np.ndarray, "n size size 3"]) -> Float[np.ndarray, "n k"]:
    return np.asarray(jax.jit(apply)(params, jnp.asarray(images)), np.float64)
