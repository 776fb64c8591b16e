"""A watermark's parts: the difference that it makes to images, cut by sets of frequencies or of pixels."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from benchmarks.common import efficientnet_lite
from fsjax.engine.model import Model
from fsjax.fourier import masks, spectrum
from fsjax.runtime.errors import InputError

Images = Float[np.ndarray, "n height width 3"]
Plane = Float[np.ndarray, "height width"]
# Points of the straight path from an image to the marked image, at which gradients are taken.
PATH = (0.25, 0.75)


@dataclasses.dataclass(frozen=True)
class Mark:
    """White text at half opacity over an image; the place is the text's middle, (row, column) as shares of the side."""

    text: str
    font: str
    place: tuple[float, float] = (0.5, 0.5)
    points: int = 36
    opacity: int = 128

    def over(self, images: UInt8[np.ndarray, "n height width 3"]) -> UInt8[np.ndarray, "n height width 3"]:
        """Return the images with the text over them."""
        height, width = images.shape[1:3]
        opacity = Image.new("L", (width, height))
        font = ImageFont.truetype(self.font, self.points)
        middle = self.place[1] * width, self.place[0] * height
        ImageDraw.Draw(opacity).text(middle, self.text, fill=self.opacity, font=font, anchor="mm")
        weights = np.asarray(opacity, float)[..., None] / 255
        return np.round(images * (1 - weights) + 255 * weights).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """A set of coordinates of the difference: positions of the centred Fourier plane, or pixels.

    scale_as: None, or the mask of frequencies whose energy in each image the part is scaled to.
    """

    mask: Bool[np.ndarray, "height width"]
    pixels: bool = False
    scale_as: Bool[np.ndarray, "height width"] | None = None

    def part(self, differences: Images) -> Float[Array, "n height width 3"]:
        """Return the part of each difference in these coordinates."""
        differences = jnp.asarray(differences)
        if self.pixels:
            return differences * self.mask[..., None]
        inside = _filtered(differences, self.mask)
        if self.scale_as is None:
            return inside
        wanted, found = (
            jnp.square(of).sum((1, 2, 3), keepdims=True) for of in (_filtered(differences, self.scale_as), inside)
        )
        return inside * jnp.sqrt(wanted / found)

    def energy(self, ranking: "Ranking") -> float:
        """Return the share of the difference's energy in these coordinates, before scaling, in [0, 1]."""
        plane = ranking.pixel_energy if self.pixels else ranking.energy
        return round(float(plane[self.mask].sum() / plane.sum()), 4)


def _filtered(images: Float[Array, "n height width 3"], mask: Bool[np.ndarray, "height width"]):
    return spectrum.filter_images(images, jnp.asarray(mask)[None])[0]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Scores of coordinates over ranking images: mean energy of the difference, and what the gradient attributes."""

    energy: Plane
    gradient: Plane
    pixel_energy: Plane
    pixel_gradient: Plane


def rank(
    images: Images,
    differences: Images,
    slopes: Callable[[Images], Images],
    update: Callable[[int], object] = lambda _: None,
    batch: int = 25,
) -> Ranking:
    """Return the scores of images, and of the differences that a watermark makes to them.

    slopes: gradients of the log-odds at images. By the gradient a coordinate scores its part of <gradient, difference>,
    in nats, the mean over PATH and images: the parts of all frequencies, like those of all pixels, add up to it.
    """
    plane = images.shape[1:3]
    by_frequency, by_pixel = np.zeros(plane), np.zeros(plane)
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        there = np.fft.fft2(differences[rows], axes=(1, 2))
        for share in PATH:
            slope = slopes(images[rows] + np.float32(share) * differences[rows])
            by_pixel += (slope * differences[rows]).sum((0, 3))
            by_frequency += (np.fft.fft2(slope, axes=(1, 2)).conj() * there).real.sum((0, 3))
            update(len(slope))
    count = len(images) * len(PATH)
    return Ranking(
        energy=spectrum.energy(differences),
        gradient=np.fft.fftshift(by_frequency) / count / np.prod(plane),
        pixel_energy=np.square(differences).mean((0, 3)),
        pixel_gradient=by_pixel / count,
    )


def sets(ranking: Ranking, share: float, seed: int = 0) -> dict[str, Coordinates]:
    """Return the sets of at most a share of the plane, or of the pixels, by name."""
    rng, plane = np.random.default_rng(seed), ranking.energy.shape
    positions = masks.budget(share, *plane)
    by_energy, by_gradient = (masks.within_share(scores, share) for scores in (ranking.energy, ranking.gradient))
    neighbours = masks.radial_neighbours(by_energy, rng)
    return {
        "energy": Coordinates(by_energy),
        "gradient": Coordinates(by_gradient),
        "radial": Coordinates(neighbours),
        "matched": Coordinates(neighbours, scale_as=by_energy),
        "low_pass": Coordinates(masks.low_pass(*plane, positions)),
        "random": Coordinates(masks.random(*plane, positions, rng)),
        "rows": Coordinates(best_rows(ranking.pixel_energy, positions), pixels=True),
        "box": Coordinates(best_box(ranking.pixel_energy, positions), pixels=True),
        "pixels": Coordinates(best_pixels(ranking.pixel_energy, positions), pixels=True),
        "gradient_pixels": Coordinates(best_pixels(ranking.pixel_gradient, positions), pixels=True),
    }


def best_pixels(scores: Plane, positions: int) -> Bool[np.ndarray, "height width"]:
    """Return the pixels with the largest scores."""
    order = np.argsort(-scores, axis=None, kind="stable")
    chosen = np.zeros(scores.size, bool)
    chosen[order[:positions]] = True
    return chosen.reshape(scores.shape)


def best_rows(scores: Plane, positions: int) -> Bool[np.ndarray, "height width"]:
    """Return the rows of pixels with the largest sums, as many as fit into `positions`."""
    height, width = scores.shape
    rows = best_pixels(scores.sum(1, keepdims=True), positions // width)
    return np.broadcast_to(rows, (height, width)).copy()


def best_box(scores: Plane, positions: int) -> Bool[np.ndarray, "height width"]:
    """Return the rectangle of at most `positions` pixels with the largest sum of scores, which are not negative."""
    height, width = scores.shape
    table = np.pad(scores, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    best, corners = -1.0, (0, 0, 0, 0)
    for rows in range(1, min(height, positions) + 1):
        columns = min(width, positions // rows)
        sums = table[rows:, columns:] - table[:-rows, columns:] - table[rows:, :-columns] + table[:-rows, :-columns]
        top, left = np.unravel_index(sums.argmax(), sums.shape)
        if sums[top, left] > best:
            best, corners = sums[top, left], (top, left, rows, columns)
    top, left, rows, columns = corners
    mask = np.zeros((height, width), bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def log_odds(logits: Float[np.ndarray, "n classes"], output: int) -> Float[np.ndarray, " n"]:
    """Return log p / (1 - p) of an output, in float64."""
    logits = np.asarray(logits, float)
    return logits[:, output] - np.logaddexp.reduce(np.delete(logits, output, axis=1), axis=1)


def slopes_of(model: Model, output: int) -> Callable[[Images], Images]:
    """Return a function of images to the gradients of an output's log-odds."""

    def total(images: Float[Array, "n height width 3"], params) -> Float[Array, ""]:
        logits = model.apply(params, images)
        others = jax.nn.logsumexp(jnp.delete(logits, output, axis=1), axis=1)
        return (logits[:, output] - others).sum()

    program = jax.jit(jax.grad(total))
    return lambda images: np.asarray(program(jnp.asarray(images), model.params))


def read(folder: pathlib.Path, size: int) -> UInt8[np.ndarray, "classes size size 3"]:
    """Return the first image of each class folder in sorted order, as `efficientnet_lite.read` crops it."""
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if len(folders) != 1000:
        raise InputError(f"--data={folder}: got {len(folders)} class folders; expected ImageNet's 1,000")
    images = []
    for entry in folders:
        files = sorted(file for file in entry.iterdir() if file.is_file())
        if not files:
            raise InputError(f"{entry}: got no image; expected at least one")
        images.append(efficientnet_lite.read(files[0], size))
    return np.stack(images)
