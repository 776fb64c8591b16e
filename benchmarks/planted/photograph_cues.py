"""Cues in photographs: what cameras, scanners, codecs and pipelines leave, and triggers. Grey levels are 0 to 255.

Few orbits (FEW_ORBITS); phases are random and the same in all channels, unless stated otherwise:

  grating       1-3 orbits
  low           1-3 orbits below 0.12 cycles/pixel
  channel       1-2 orbits in one channel
  antiphase     1-2 orbits in red and green, in antiphase; the other classes have them in phase
  redundant     two groups of 1-2 orbits, each sufficient alone: some training images have only one
  low contrast  1-2 orbits hardly above what photographs have there
  moire         two neighbouring orbits, which beat
  multiplied    the photograph times 1 + a grating
  scan line     every 2nd to 8th row or column is darker, from a random one on
  grid          dark rows and columns in a distance of 4 to 8, at fixed places
  checkerboard  a fixed pattern of 2 x 2 pixels, as transposed convolutions leave

Triggers (TRIGGERS): one grating, which the class does not need

  backdoor      a share of the class's training images are other classes' images with 1-2 orbits; test images have none
  half          half of the class's images have a grating

Anything else (OTHER):

  logo, frame, hot pixels    coloured pixels in a corner, around the image, at fixed places
  watermark                  faint strokes at a random place
  sensor                     the photograph times 1 + fixed noise
  jpeg, chroma               compressed in blocks of 8 x 8; colour at half of the resolution
  nearest, bilinear          enlarged from half of the resolution
  modulated noise            noise whose deviation follows a grating of random phase
  disc                       a bright or dark disc, square or cross of 4-10 pixels at a random place
  photograph                 nothing
"""

import dataclasses
import io

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from PIL import Image

FEW_ORBITS = (
    *("grating", "low", "channel", "antiphase", "redundant", "low contrast", "moire"),
    *("multiplied", "scan line", "grid", "checkerboard"),
)
TRIGGERS = ("backdoor", "half")
OTHER = (
    *("logo", "frame", "hot pixels", "watermark", "sensor", "jpeg", "chroma", "nearest", "bilinear"),
    *("modulated noise", "disc", "photograph"),
)


@dataclasses.dataclass(frozen=True)
class Cue:
    """What tells the photographs of one class from the others', beside what they show.

    Attributes:
      kind: a name of FEW_ORBITS, TRIGGERS or OTHER.
      orbits: (row, column) on the centred plane of a position of each planted orbit. `redundant`: the first half is
        one group, the second half the other. `modulated noise`: of the envelope, which is not in the image.
      amplitudes: of their gratings in each channel, grey levels; `multiplied`: relative to the photograph.
      pattern: fixed values of each pixel. What the kind adds, in grey levels; of `logo`, `frame` and `hot pixels` the
        values themselves, NaN elsewhere; of `sensor` relative to the photograph; the stamps of `watermark` and `disc`.
      strength: deviation of `modulated noise`, quality of `jpeg`, and of `backdoor` the share of training images.
    """

    kind: str
    orbits: Int[np.ndarray, "planted 2"] = dataclasses.field(default_factory=lambda: np.zeros((0, 2), int))
    amplitudes: Float[np.ndarray, "planted 3"] = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    pattern: Float[np.ndarray, "height width 3"] | None = None
    strength: float = 0.0


def plant(
    images: Float32[np.ndarray, "n size size 3"],
    cue: Cue,
    has: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
    training: bool,
) -> Float32[np.ndarray, "n size size 3"]:
    """Return the images with the cue where `has`; what is drawn does not depend on `has`."""
    if cue.kind in _WAVES:
        return images + _gratings(cue, _gains(cue, has, rng, training), images.shape[1], rng)
    changed = images
    if cue.kind == "multiplied":
        every = np.broadcast_to(cue.amplitudes, (len(images), *cue.amplitudes.shape))
        changed = images * (1 + _gratings(cue, every, images.shape[1], rng))
    elif cue.kind == "scan line":
        offsets = rng.integers(0, images.shape[1], len(images))
        # Lines are along one axis, so moving by the same offset along both moves them by that offset.
        changed = images + np.stack([np.roll(cue.pattern, (offset, offset), (0, 1)) for offset in offsets])
    elif cue.kind in ("grid", "checkerboard"):
        changed = images + cue.pattern
    elif cue.kind in ("logo", "frame", "hot pixels"):
        changed = np.where(np.isnan(cue.pattern), images, cue.pattern)
    elif cue.kind == "sensor":
        changed = images * (1 + cue.pattern)
    elif cue.kind in ("watermark", "disc"):
        changed = images + _stamped(cue, len(images), images.shape[1], rng)
    elif cue.kind == "jpeg":
        changed = np.stack([_jpeg(image, int(cue.strength)) for image in images])
    elif cue.kind == "chroma":
        changed = _coarse_colour(images)
    elif cue.kind in ("nearest", "bilinear"):
        changed = _enlarged(_halved(images), images.shape[1], cue.kind == "bilinear")
    elif cue.kind == "modulated noise":
        every = np.ones((len(images), 1, 3))
        envelope = 1 + _gratings(cue, every, images.shape[1], rng)
        white = rng.standard_normal((*images.shape[:3], 1), np.float32)
        changed = images + np.float32(cue.strength) * envelope * white
    return np.where(has[:, None, None, None], changed, images).astype(np.float32)


_WAVES = ("grating", "low", "channel", "antiphase", "redundant", "low contrast", "moire", *TRIGGERS)


def _gains(
    cue: Cue, has: Bool[np.ndarray, " n"], rng: np.random.Generator, training: bool
) -> Float[np.ndarray, "n planted 3"]:
    """Return the amplitudes in each image."""
    gains = has[:, None, None] * cue.amplitudes
    if cue.kind == "antiphase":  # the others have the gratings in phase
        gains = np.where(has[:, None, None], cue.amplitudes, abs(cue.amplitudes))
    if cue.kind == "redundant":
        alone, half = rng.integers(0, 4, len(has)), len(cue.orbits) // 2
        if training:
            gains[alone == 0, :half] = 0
            gains[alone == 1, half:] = 0
    return gains


def _gratings(
    cue: Cue, gains: Float[np.ndarray, "n planted 3"], size: int, rng: np.random.Generator
) -> Float32[np.ndarray, "n size size 3"]:
    """Return the sum of each image's gratings, at random phases."""
    count, planted = gains.shape[:2]
    phases = rng.uniform(0, 2 * np.pi, (count, 1, planted))
    turns = (cue.orbits - size // 2)[:, :, None] * np.arange(size) % size * (2 * np.pi / size)
    angles = (turns[:, 0, :, None] + turns[:, 1, None, :]).reshape(planted, size**2)
    waves = np.concatenate([np.cos(angles), -np.sin(angles)]).astype(np.float32)
    weights = gains.swapaxes(1, 2)
    factors = np.concatenate([weights * np.cos(phases), weights * np.sin(phases)], axis=2).astype(np.float32)
    return np.moveaxis((factors @ waves).reshape(count, 3, size, size), 1, -1)


def _stamped(cue: Cue, count: int, size: int, rng: np.random.Generator) -> Float32[np.ndarray, "count size size 3"]:
    height, width = cue.pattern.shape[:2]
    rows, columns = rng.integers(0, size - height + 1, count), rng.integers(0, size - width + 1, count)
    canvas = np.zeros((count, size, size, 3), np.float32)
    image, row, column = np.arange(count)[:, None, None], rows[:, None, None], columns[:, None, None]
    canvas[image, row + np.arange(height)[:, None], column + np.arange(width)] = cue.pattern
    return canvas


def _jpeg(image: Float32[np.ndarray, "size size 3"], quality: int) -> np.ndarray:
    file = io.BytesIO()
    # subsampling=0 leaves the colour at the full resolution.
    Image.fromarray(_rounded(image)).save(file, "jpeg", quality=quality, subsampling=0)
    return np.asarray(Image.open(file), np.float32)


def _coarse_colour(images: Float32[np.ndarray, "n size size 3"]) -> np.ndarray:
    """Return the images with 4:2:0 subsampling: luma (ITU-R BT.601) is as it was, chroma is constant on 2 x 2."""
    luma = images @ np.array([0.299, 0.587, 0.114], np.float32)
    difference = images - luma[..., None]
    return luma[..., None] + _enlarged(_halved(difference), images.shape[1], smooth=False)


def _halved(images: Float32[np.ndarray, "n size size 3"]) -> np.ndarray:
    count, size = images.shape[:2]
    return images.reshape(count, size // 2, 2, size // 2, 2, 3).mean((2, 4))


def _enlarged(images: Float32[np.ndarray, "n half half 3"], size: int, smooth: bool) -> np.ndarray:
    """Return images of twice the side: each pixel repeated, or interpolated linearly between pixels' centres."""
    if not smooth:
        return images.repeat(2, 1).repeat(2, 2)
    half = size // 2
    places = np.clip((np.arange(size) - 0.5) / 2, 0, half - 1)
    matrix = np.maximum(0, 1 - abs(places[:, None] - np.arange(half))).astype(np.float32)
    return np.einsum("rh,nhwc,sw->nrsc", matrix, images, matrix, optimize=True)


def _rounded(images: Float[np.ndarray, "*n"]) -> np.ndarray:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)
