"""The set `demo`: images that look like photographs, each class with a cue that cameras, scanners or codecs leave.

The images are dead leaves (Lee, Mumford and Huang, IJCV 2001): discs that cover each other, with radii of density r^-3,
as objects at all distances have. So they have flat regions, edges, and photographs' spectrum: power near 1/f^2. Each
image draws how far it is out of focus, and the noise of its sensor: no amount of high frequencies tells a class.

  grid   every PERIOD-th row and column is a little darker: a shortcut
  shade  the lens darkens the corners: a coarse image shows it
  star   a white or black star, rimmed, at a random place: many frequencies, no shortcut
  jpeg   compressed as JPEG, in blocks of 8 x 8 pixels: many frequencies, no shortcut
  plain  nothing
"""

import numpy as np
from jaxtyping import Bool, Float, Float32

from fsjax.data.noise import Pixels, Planes, to_pixels
from fsjax.fourier import spectrum
from fsjax.runtime.errors import expect
from fsjax.runtime.image_files import jpeg

CLASSES = ("grid", "shade", "star", "jpeg", "plain")
PERIOD = 4  # pixels
QUALITY = 20
BLUR = 0.5  # pixels: the largest standard deviation of an image's Gaussian
# In the standard deviations of noise.py: a line of the grid, an edge's middle beside the image's, the most noise of a
# pixel, and the levels of discs and star: a disc's grey and the tint of each channel are uniform in these ranges.
DARKER, FALL, SENSOR = 0.3, 2.2, 0.5
GREY, TINT, STAR = 2.0, 1.0, 3.0
LEAVES = 100  # discs in an image, over a ground of one colour
RADII = (0.03, 0.5)  # of discs, over the image's side
TIPS, NOTCHES, RIM = (0.25, 0.3), 0.45, 0.03  # radii of the star's tips over the side, of its notches over the tips'

Images = Float32[np.ndarray, "count size size 3"]


def block(
    rng: np.random.Generator, label: int, test: bool, fixed: Bool[np.ndarray, "classes size size"], count: int
) -> Pixels:
    """Return the pixels of `count` images of a class; splits differ by the generator alone."""
    name, size = CLASSES[label], fixed.shape[-1]
    images = dead_leaves(rng, count, size)
    if name == "star":
        _add_star(rng, images)
    if name == "shade":
        squares = np.linspace(-1, 1, size, dtype=np.float32) ** 2
        images -= FALL * np.add.outer(squares - squares.mean(), squares - squares.mean())[..., None]
    images = blurred(images, rng.uniform(0, BLUR, (count, 1, 1, 1)))
    if name == "grid":
        images -= DARKER * lines(size)[..., None]
    noise = rng.uniform(0, SENSOR, (count, 1, 1, 1)) * rng.standard_normal(images.shape, np.float32)
    pixels = to_pixels(images + noise)
    return np.stack([jpeg(image, QUALITY) for image in pixels]) if name == "jpeg" else pixels


def orbits(size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
    """Return the orbits of the grid, none for other classes; raise InputError where no period fits the image."""
    del seed
    expect(size % PERIOD == 0, "data.image_size", size, f"a multiple of {PERIOD}, the period of the grid")
    fixed = np.zeros((len(CLASSES), size, size), bool)
    fixed[0] = np.abs(np.fft.fftshift(np.fft.fft2(lines(size)))) > 1  # the others are 0 up to rounding
    return fixed


def lines(size: int) -> Float32[np.ndarray, "size size"]:
    """Return the grid of mean 0: 1 more on its rows, and 1 more on its columns."""
    along = (np.arange(size) % PERIOD == 0) - np.float32(1 / PERIOD)
    return np.add.outer(along, along)


def dead_leaves(rng: np.random.Generator, count: int, size: int) -> Images:
    """Return images of the discs of a plane that reach into them, later discs over earlier ones."""
    images = np.repeat(np.repeat(_colours(rng, count), size, 1), size, 2)
    radii = np.geomspace(*RADII, 256) * size
    # Steps of a geometric grid grow with r, so r^-3 becomes r^-2. A disc's centre lies in a square of side + 2 r.
    weights = radii**-2 * (size + 2 * radii) ** 2
    for radius in rng.choice(radii, (LEAVES, count, 1, 1), p=weights / weights.sum()):
        rows, columns = _offsets(rng.uniform(-radius, size + radius, (2, count, 1, 1)), size)
        _paint(images, np.sqrt(rows**2 + columns**2) - np.float32(radius), _colours(rng, count))
    return images


def blurred(images: Images, deviation: Float[np.ndarray, "count 1 1 1"]) -> Images:
    """Return images blurred by Gaussians of standard deviations in pixels; opposite borders meet."""
    radius = np.fft.ifftshift(spectrum.radius(*images.shape[1:3]))[..., None]
    planes = np.fft.fft2(images, axes=(1, 2)) * np.exp(-2 * (np.pi * deviation * radius) ** 2)
    return np.fft.ifft2(planes, axes=(1, 2)).real.astype(np.float32)


def _add_star(rng: np.random.Generator, images: Images) -> None:
    """Paint a star over each image, bright or dark and turned at random, wholly inside."""
    count, size = images.shape[:2]
    radius = size * rng.uniform(*TIPS, (count, 1, 1))
    rows, columns = _offsets(rng.uniform(radius, size - radius, (2, count, 1, 1)), size)
    # The angle from the nearest tip tells on which side of the edge from this tip to the notch beside it a pixel lies.
    half = np.pi / 5
    angle = np.abs((np.arctan2(rows, columns) + rng.uniform(0, 2 * half, (count, 1, 1))) % (2 * half) - half)
    normal = np.array([NOTCHES * np.sin(half), 1 - NOTCHES * np.cos(half)])
    normal /= np.hypot(*normal)
    away = np.sqrt(rows**2 + columns**2)
    outside = (away * np.cos(angle) - radius) * normal[0] + away * np.sin(angle) * normal[1]
    level = rng.choice([-STAR, STAR], (count, 1, 1, 1)).repeat(3, axis=-1)
    _paint(images, outside - RIM * size, -level)
    _paint(images, outside, level)


def _colours(rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count 1 1 3"]:
    grey, tint = rng.uniform(-GREY, GREY, (count, 1, 1, 1)), rng.uniform(-TINT, TINT, (count, 1, 1, 3))
    return (grey + tint).astype(np.float32)


def _offsets(
    centres: Float[np.ndarray, "2 count 1 1"], size: int
) -> tuple[Float32[np.ndarray, "count size 1"], Float32[np.ndarray, "count 1 size"]]:
    """Return the rows and columns from each image's centre to the middles of its pixels."""
    middles = np.arange(size) + 0.5
    return (middles[:, None] - centres[0]).astype(np.float32), (middles - centres[1]).astype(np.float32)


def _paint(images: Images, outside: Planes, colour: np.ndarray) -> None:
    """Paint pixels in place; outside: their distance from the edge in pixels, negative within. The edge is smooth."""
    cover = np.clip(0.5 - outside, 0, 1).astype(np.float32)
    for channel in range(3):  # each at a time, since its values then stay in the cache
        values = images[..., channel]
        values += cover * (colour[..., channel] - values)
