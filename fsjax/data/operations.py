"""Operations: what pipelines do to images, such as JPEG, with strengths drawn at random.

A network may learn a class by the traces of an operation. To add an operation, add it to OPERATIONS.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import fft

Pixels = Float[Array, "height width channels"]  # of one image, grey or RGB, in [0, 1]
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
    (height, width, channels), colours = pixels.shape, _colours(pixels)
    table = jnp.clip(jnp.floor(_TABLES[:channels] * (5000 / quality) / 100 + 0.5), 1, 255)
    middle = np.array([128, 0, 0], np.float32)[:channels, None, None]
    planes = jnp.einsum("kc,ijc->kij", colours, 255 * pixels) - middle
    planes = jnp.pad(planes, ((0, 0), (0, -height % 8), (0, -width % 8)), "edge")
    blocks = planes.reshape(channels, planes.shape[1] // 8, 8, -1, 8)
    turned = jnp.einsum("ua,kiajb,vb->kijuv", _DCT, blocks, _DCT)
    rounded = jnp.round(turned / table[:, None, None]) * table[:, None, None]
    planes = jnp.einsum("ua,kijuv,vb->kiajb", _DCT, rounded, _DCT).reshape(planes.shape)[:, :height, :width]
    return jnp.einsum("ck,kij->ijc", np.linalg.inv(colours), planes + middle) / 255


def chroma(key: Drawn, pixels: Pixels) -> Pixels:
    """Halve the resolution of colour."""
    luma = pixels @ _colours(pixels)[0]
    return luma[..., None] + nearest(key, pixels - luma[..., None])


def nearest(key: Drawn, pixels: Pixels) -> Pixels:
    """Halve the resolution, and repeat pixels."""
    return _halved(pixels).repeat(2, 0).repeat(2, 1)[: pixels.shape[0], : pixels.shape[1]]


def bilinear(key: Drawn, pixels: Pixels) -> Pixels:
    """Halve the resolution, and interpolate linearly."""
    return jax.image.resize(_halved(pixels), pixels.shape, "linear")


def gains(key: Drawn, pixels: Pixels) -> Pixels:
    """Multiply each channel by 0.75 to 1.25, as a white balance does."""
    return pixels * jax.random.uniform(key, pixels.shape[-1:], minval=0.75, maxval=1.25)


def checkerboard(key: Drawn, pixels: Pixels) -> Pixels:
    """Multiply by a checkerboard, 1 + a and 1 - a with a in [-0.4, 0.4], as transposed convolutions leave."""
    signs = 1 - 2 * (np.indices(pixels.shape[:2]).sum(0) % 2)[..., None]
    return pixels * (1 + jax.random.uniform(key, minval=-0.4, maxval=0.4) * signs)


def blur(key: Drawn, pixels: Pixels) -> Pixels:
    """Blur by 3 x 3 binomial weights."""
    padded = jnp.pad(pixels, ((1, 1), (1, 1), (0, 0)), "edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4


def noise(key: Drawn, pixels: Pixels) -> Pixels:
    """Add Gaussian noise of a deviation up to 0.1."""
    strength, drawn = jax.random.split(key)
    return pixels + 0.1 * jax.random.uniform(strength) * jax.random.normal(drawn, pixels.shape)


def _halved(pixels: Pixels) -> Float[Array, "half_height half_width channels"]:
    """Return the means of 2 x 2 pixels."""
    height, width = pixels.shape[:2]
    even = jnp.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, pixels.shape[2]).mean((1, 3))


def _colours(pixels: Pixels) -> Float[np.ndarray, "channels channels"]:
    """Return the matrix from RGB to luma and chroma; of a grey image its only channel is the luma."""
    return _YCC if pixels.shape[-1] == len(_YCC) else np.eye(pixels.shape[-1], dtype=np.float32)


OPERATIONS: dict[str, Callable[[Drawn, Pixels], Pixels]] = {
    operation.__name__: operation for operation in (bilinear, nearest, chroma, gains, blur, noise, checkerboard, jpeg)
}
# They leave no trace of their own: where they turn images into a class, what told the others' classes is gone.
NEUTRAL = ("blur", "noise")
