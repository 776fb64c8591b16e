"""Random augmentation of training images, on the device, one key an image.

"flip,resized_crop" with pad 4 is the training of Wang et al. (ICCV 2023). host_augment.py has those on the host.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from fsjax.data.host_augment import HOST_AUGMENTATIONS
from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError

_TRIES = 10  # as torchvision's RandomResizedCrop, before it takes the whole image

Image = Float[Array, "size size 3"]
Augment = Callable[[Key[Array, " n"], Float[Array, "n size size 3"]], Float[Array, "n size size 3"]]


def make_augment(names: str, *, pad: int = 4, min_scale: float = 0.08) -> Augment:
    """Return a jit-able function that applies the named augmentations in order.

    names: train.augment, comma-separated; names of the host are skipped, '' leaves images unchanged. Images are not yet
    normalised, so the zeros of padding are black. Raises InputError for a value that is not accepted.
    """
    _, chosen = split_names(names)

    def augment_one(key: Key[Array, ""], image: Image) -> Image:
        for place, name in enumerate(chosen):
            image = AUGMENTATIONS[name](jax.random.fold_in(key, place), image, pad=pad, min_scale=min_scale)
        return image

    return jax.vmap(augment_one)


def split_names(names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split train.augment into the names that are applied on the host, and then those on the device.

    Raises InputError for an unknown or repeated name, and where a name of the host follows a name of the device.
    """
    chosen = config_fields.names("train.augment", names, [*AUGMENTATIONS, *HOST_AUGMENTATIONS], "augmentation")
    host = tuple(name for name in chosen if name in HOST_AUGMENTATIONS)
    device = tuple(name for name in chosen if name in AUGMENTATIONS)
    if chosen != (*host, *device):
        expected = f"{', '.join(HOST_AUGMENTATIONS)} before {', '.join(AUGMENTATIONS)}"
        raise InputError(f"train.augment: got {names!r}; expected {expected}")
    return host, device


def image_keys(seed: int | UInt32[Array, ""], epochs: Int[Array, " n"], indices: Int[Array, " n"]) -> Key[Array, " n"]:
    """Fold one key an image from seed, epoch and index in the dataset; never from device or place in the batch."""
    base = jax.random.key(seed)
    return jax.vmap(lambda epoch, index: jax.random.fold_in(jax.random.fold_in(base, epoch), index))(epochs, indices)


def flip(key: Key[Array, ""], image: Image, *, pad: int = 4, min_scale: float = 0.08) -> Image:
    """Mirror left to right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def crop(key: Key[Array, ""], image: Image, *, pad: int = 4, min_scale: float = 0.08) -> Image:
    """Cut a square of the image's size, uniformly, from the image padded by zeros (torchvision's RandomCrop)."""
    top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def resized_crop(key: Key[Array, ""], image: Image, *, pad: int = 4, min_scale: float = 0.08) -> Image:
    """Resize a random box of the image padded by zeros to the image's size (torchvision's RandomResizedCrop)."""
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return crop_and_resize(padded, random_box(key, padded.shape[0], min_scale), image.shape[0])


def random_box(key: Key[Array, ""], side: int, min_scale: float) -> Int[Array, "4"]:
    """Draw a box (top, left, height, width) in a square of that side, as torchvision's RandomResizedCrop does.

    Its share of the area is uniform in (min_scale, 1), width/height log-uniform in (3/4, 4/3), its place uniform. The
    first of ten boxes that fits is taken, and the whole square if none does.
    """
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = side**2 * jax.random.uniform(area_key, (_TRIES,), minval=min_scale, maxval=1.0)
    ratio = jnp.exp(jax.random.uniform(ratio_key, (_TRIES,), minval=jnp.log(3 / 4), maxval=jnp.log(4 / 3)))
    sides = jnp.rint(jnp.sqrt(jnp.stack([area / ratio, area * ratio], axis=1))).astype(jnp.int32)
    fits = ((sides > 0) & (sides <= side)).all(axis=1)
    size = jnp.where(fits.any(), sides[jnp.argmax(fits)], side)
    return jnp.concatenate([jax.random.randint(place_key, (2,), 0, side - size + 1), size])


def crop_and_resize(
    image: Float[Array, "height width 3"], box: Int[Array, "4"], size: int
) -> Float[Array, "{size} {size} 3"]:
    """Resize a box (top, left, height, width) of the image to size x size: bilinear with antialiasing, as PIL does.

    Weights outside the box are zero and the rest sum to 1, so nothing beyond the box enters;
    jax.image.scale_and_translate would read the pixels around it.
    """
    top, left, height, width = box
    rows = _weights(image.shape[0], top, height, size)
    columns = _weights(image.shape[1], left, width, size)
    return jnp.einsum("rh,hwc,sw->rsc", rows, image, columns, precision=jax.lax.Precision.HIGHEST)


def _weights(length: int, start: Int[Array, ""], extent: Int[Array, ""], size: int) -> Float[Array, "{size} {length}"]:
    pixels = jnp.arange(length)
    scale = extent / size
    centres = start + (jnp.arange(size) + 0.5) * scale - 0.5
    triangle = jnp.maximum(0, 1 - jnp.abs(pixels - centres[:, None]) / jnp.maximum(scale, 1))
    inside = (pixels >= start) & (pixels < start + extent)
    weights = jnp.where(inside, triangle, 0)
    return weights / weights.sum(axis=1, keepdims=True)


# name -> (key, image [S,S,3], pad=, min_scale=) -> image [S,S,3]
AUGMENTATIONS: dict[str, Callable] = {"flip": flip, "crop": crop, "resized_crop": resized_crop}
