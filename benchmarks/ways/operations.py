"""Operations: what pipelines do to images, such as JPEG, done at random to every training image, whatever its class.

A network cannot learn a class by the traces of an operation that other classes' images have as well. To add an
operation, add a line to OPERATIONS.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from scipy import fft

from fsjax.runtime import config_fields
from fsjax.runtime.config_fields import Table
from fsjax.runtime.random_streams import Stream
from fsjax.training.ways import way
from fsjax.training.ways.way import Images, Keys, Labels, Setting, Transform, Way

Pixels = Float[Array, "height width 3"]  # of one image, in [0, 1]
Drawn = Key[Array, ""]

_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
_DCT = fft.dct(np.eye(8), axis=0, norm="ortho").astype(np.float32)
# The tables of the JPEG standard (ITU-T T.81, annex K), of luma and chroma.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99"
_TABLES = np.array([_LUMA.split(), *2 * [_CHROMA.split() + 32 * ["99"]]], np.float32).reshape(3, 8, 8)


def jpeg(key: Drawn, pixels: Pixels) -> Pixels:
    """Compress in blocks of 8 x 8, with a quality of 5 to 50 and colour at the full resolution."""
    return jpeg_at(jax.random.uniform(key, minval=5, maxval=50), pixels)


def jpeg_at(quality: Float[Array, ""] | float, pixels: Pixels) -> Pixels:
    """Compress as JPEG of a quality up to 50."""
    height, width = pixels.shape[:2]
    table = jnp.clip(jnp.floor(_TABLES * (5000 / quality) / 100 + 0.5), 1, 255)
    planes = jnp.einsum("kc,ijc->kij", _YCC, 255 * pixels) - np.array([128, 0, 0], np.float32)[:, None, None]
    planes = jnp.pad(planes, ((0, 0), (0, -height % 8), (0, -width % 8)), "edge")
    blocks = planes.reshape(3, planes.shape[1] // 8, 8, -1, 8)
    turned = jnp.einsum("ua,kiajb,vb->kijuv", _DCT, blocks, _DCT)
    rounded = jnp.round(turned / table[:, None, None]) * table[:, None, None]
    planes = jnp.einsum("ua,kijuv,vb->kiajb", _DCT, rounded, _DCT).reshape(planes.shape)[:, :height, :width]
    return jnp.einsum("ck,kij->ijc", np.linalg.inv(_YCC), planes + np.array([128, 0, 0])[:, None, None]) / 255


def chroma(key: Drawn, pixels: Pixels) -> Pixels:
    """Halve the resolution of colour."""
    luma = pixels @ _YCC[0]
    return luma[..., None] + nearest(key, pixels - luma[..., None])


def nearest(key: Drawn, pixels: Pixels) -> Pixels:
    """Halve the resolution, and repeat pixels."""
    return _halved(pixels).repeat(2, 0).repeat(2, 1)[: pixels.shape[0], : pixels.shape[1]]


def bilinear(key: Drawn, pixels: Pixels) -> Pixels:
    """Halve the resolution, and interpolate linearly."""
    return jax.image.resize(_halved(pixels), pixels.shape, "linear")


def lattice(key: Drawn, pixels: Pixels) -> Pixels:
    """Multiply by a pattern of 2 x 2 pixels, as up-sampling networks leave, of contrasts up to 0.4."""
    strength, pattern = jax.random.split(key)
    gains = jax.random.uniform(pattern, (2, 2, 1), minval=-1, maxval=1)
    tiles = [-(-side // 2) for side in pixels.shape[:2]]
    gains = jnp.tile(gains - gains.mean(), (*tiles, 1))[: pixels.shape[0], : pixels.shape[1]]
    return pixels * (1 + 0.4 * jax.random.uniform(strength) * gains)


def blur(key: Drawn, pixels: Pixels) -> Pixels:
    """Blur by 3 x 3 binomial weights."""
    padded = jnp.pad(pixels, ((1, 1), (1, 1), (0, 0)), "edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4


def noise(key: Drawn, pixels: Pixels) -> Pixels:
    """Add Gaussian noise of a deviation up to 0.1."""
    strength, drawn = jax.random.split(key)
    return pixels + 0.1 * jax.random.uniform(strength) * jax.random.normal(drawn, pixels.shape)


def _halved(pixels: Pixels) -> Float[Array, "half_height half_width 3"]:
    """Return the means of 2 x 2 pixels."""
    height, width = pixels.shape[:2]
    even = jnp.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, 3).mean((1, 3))


OPERATIONS: dict[str, Callable[[Drawn, Pixels], Pixels]] = {
    operation.__name__: operation for operation in (bilinear, nearest, chroma, blur, noise, lattice, jpeg)
}

FIELDS: Table = {
    "names": ("lattice,jpeg", f"operations, some of {', '.join(OPERATIONS)}, separated by commas, in their order"),
    "probability": (0.9, "probability of each operation, for each image", "[0, 1]"),
}


def make_operations(names: tuple[str, ...], probability: float, mean_std: tuple[np.ndarray, np.ndarray]) -> Transform:
    """Return (keys, labels, normalised images) -> images; jit-able, the same for an image in any batch.

    Each image meets each operation of `names` with `probability`. mean_std, of pixels in [0, 1], normalised the images.
    """

    def change(key: Drawn, pixels: Pixels) -> tuple[Pixels, Bool[Array, ""]]:
        changed = jnp.array(False)
        for name in names:
            number = list(OPERATIONS).index(name)
            whether, drawn = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, Stream.OPERATIONS), number))
            done = jax.random.bernoulli(whether, probability)
            pixels = jnp.where(done, jnp.clip(OPERATIONS[name](drawn, pixels), 0, 1), pixels)
            changed |= done
        return pixels, changed

    def apply(keys: Keys, labels: Labels, images: Images) -> Images:
        pixels, changed = jax.vmap(change)(keys, way.to_pixels(images, mean_std))
        return jnp.where(changed[:, None, None, None], way.from_pixels(pixels, mean_std), images)

    return apply


def _make(setting: Setting) -> Transform:
    options = setting.options.operations
    names = config_fields.names("train.operations.names", options.names, OPERATIONS, each="operation")
    return make_operations(names, options.probability, setting.mean_std)


WAY = Way(FIELDS, _make)
