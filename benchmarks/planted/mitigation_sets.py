"""Image sets whose training images carry a shortcut beside the true cue; test images carry no or a false shortcut.

Images are 1/f noise with a shape at a random place that indicates the class, as in `fsjax.data.synthetic`; noise with
silhouettes, for many classes; or the images of a folder. A set draws its shortcuts (mitigation_shortcuts.py) from its
seed alone; a way of training knows neither.

With silhouettes, a class is a choice of one silhouette in each colour channel, each within two pixels of the middle.
The first silhouette determines the gratings of a class: a network that reads them needs only the other silhouettes.
"""

import dataclasses
import functools
import itertools
import math

import numpy as np
from jaxtyping import Float, Int, UInt8

from benchmarks.planted.mitigation_shortcuts import KINDS, STREAM, Shortcut
from configs import common
from fsjax.data import noise, synthetic
from fsjax.data.dataset import Dataset
from fsjax.data.folder import open_folder
from fsjax.fourier import spectrum

# How a split shows shortcuts: its class's except for 3 % without, none, another class's, or any class's.
SHOWN = ("own", "absent", "conflicting", "any")
_LEFT_OUT = 0.03
# Streams of draws: of the images to train on, to validate on, and from here on to test on.
TRAIN, VALIDATE, TEST = 0, 1, 10
# Share of the training images of a folder that are kept for validation, which is as biased.
_VALIDATION = 0.2
# Colour channels of the silhouettes, in this order: red, blue, green.
CHANNELS = (0, 2, 1)
# Silhouettes are the upper half of noise below this frequency, cycles per pixel.
_COARSE = 0.2
# Largest offset of a silhouette from the middle, pixels. With arbitrary offsets, networks learned nothing from 243,000
# images with 32 silhouettes in each of two channels.
_OFF = 2
Silhouettes = list[Float[np.ndarray, "count side side"]]


@dataclasses.dataclass(frozen=True)
class BiasedSet:
    """A set.

    Attributes:
      kind: of KINDS; 'cue' needs shapes.
      size: side of the images.
      seed: of everything that is drawn.
      root: folder of real images, root/{train,test}/<class>; '' = noise and shapes.
      strength: factor on the shortcuts.
      shapes: in an image without root, 1 to 3, each a class's of `biased` and in a colour channel of its own where
        there are several. The classes are their combinations, 4, 16 or 64.
      silhouettes: number of silhouettes in each of one to three channels, in place of shapes; () = none. The classes
        are their combinations; classes with the same first silhouette share a shortcut.
    """

    kind: str
    size: int
    seed: int
    root: str = ""
    strength: float = 1.0
    shapes: int = 1
    silhouettes: tuple[int, ...] = ()

    @functools.cached_property
    def shortcut(self) -> Shortcut:
        return Shortcut(self.kind, self.size, self.seed, len(self.classes) // self.sharing)

    @property
    def sharing(self) -> int:
        """How many classes, one after the other, have the same shortcut."""
        return math.prod(self.silhouettes[1:])

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        if self.root:
            return _photographs(self.root, self.size, "train").classes
        if self.silhouettes:
            return tuple("-".join(f"{number:02d}" for number in choice) for choice in np.ndindex(self.silhouettes))
        return tuple(map("-".join, itertools.product(synthetic.BIASED_CLASSES, repeat=self.shapes)))

    def draw(
        self, per_class: int, shown: str, stream: int
    ) -> tuple[UInt8[np.ndarray, "n size size 3"], Int[np.ndarray, " n"]]:
        """Draw images and labels, of a folder at most as many a class as it has; `stream` tells splits apart."""
        rng = np.random.default_rng([self.seed, KINDS.index(self.kind), STREAM, 2, stream])
        if self.root:
            photographs, rows = self._rows(per_class, stream)
            rows = rng.permutation(rows)
            labels, pictures = photographs.labels[rows].astype(int), photographs.images(rows)
        else:
            labels = rng.permutation(np.repeat(np.arange(len(self.classes)), per_class))
        others = (labels + rng.integers(1, len(self.classes), len(labels))) % len(self.classes)
        any_class = rng.integers(0, len(self.classes), len(labels))
        owners = {"own": labels, "absent": labels, "conflicting": others, "any": any_class}[shown]
        present = rng.random(len(labels)) >= {"own": _LEFT_OUT, "absent": 1.0}.get(shown, 0.0)
        images = []
        for number, (label, owner, has) in enumerate(zip(labels, owners, present, strict=True)):
            if self.root:
                image = (pictures[number] / 255 - noise.MEAN) / noise.NOISE
            else:
                image = self._cue_in_noise(rng, int(label))
            shortcut = self.strength * self.shortcut.draw(rng, int(owner) // self.sharing, bool(has))
            image = image + shortcut[..., None] * rng.uniform(*synthetic.BIASED_CONTRAST)
            images.append(noise.to_pixels(image[None]))
        return np.concatenate(images), labels

    @functools.cached_property
    def _silhouettes(self) -> Silhouettes:
        rng = np.random.default_rng([self.seed, STREAM, 3])
        return _draw_silhouettes(rng, self.silhouettes, self.size)

    def _cue_in_noise(self, rng: np.random.Generator, label: int) -> Float[np.ndarray, "size size 3"]:
        image = noise.coloured_noise(rng, noise.noise_amplitude(self.size)[None])[0]
        if self.silhouettes:
            _add_silhouettes(rng, image, self._silhouettes, label)
            return image
        if self.kind == "cue" and self.shortcut.orbits[label]:
            return image + self.shortcut.gratings(rng, label)[..., None] * rng.uniform(*synthetic.BIASED_CONTRAST)
        for channel, number in enumerate(np.unravel_index(label, self.shapes * (len(synthetic.BIASED_CLASSES),))):
            shape = synthetic.class_shape(int(number), self.size)
            cue = (
                synthetic.SHAPE
                * synthetic.place_shape(rng, 1, shape, self.size)[0]
                * rng.uniform(*synthetic.BIASED_CONTRAST)
            )
            image[..., slice(None) if self.shapes == 1 else [channel]] += cue[..., None]
        return image

    def _rows(self, per_class: int, stream: int) -> tuple[Dataset, Int[np.ndarray, " n"]]:
        """Return the real images that a stream draws from, and the rows that it may use."""
        photographs = _photographs(self.root, self.size, "test" if stream >= TEST else "train")
        chosen = []
        for label in range(len(self.classes)):
            rows = np.flatnonzero(photographs.labels == label)
            if stream < TEST:
                kept = len(rows) - round(_VALIDATION * len(rows))
                rows = rows[:kept] if stream == TRAIN else rows[kept:]
            chosen.append(rows[:per_class])
        return photographs, np.concatenate(chosen)


def _draw_silhouettes(rng: np.random.Generator, counts: tuple[int, ...], size: int) -> Silhouettes:
    """Draw the silhouettes of each channel, 0 or 1, half as wide as an image: half of a disc each."""
    side = size // 2
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(rows, columns) <= (side - 1) / 2
    coarse = np.fft.ifftshift(spectrum.radius(side, side)) < _COARSE
    silhouettes = []
    for count in counts:
        height = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, side, side))) * coarse).real
        middle = np.median(height[:, disc], axis=1)[:, None, None]
        silhouettes.append((disc & (height > middle)).astype(float))
    return silhouettes


def _add_silhouettes(
    rng: np.random.Generator, image: Float[np.ndarray, "size size 3"], silhouettes: Silhouettes, label: int
) -> None:
    """Add the silhouettes of a class to an image, in deviations of the noise."""
    numbers = np.unravel_index(label, [len(stamps) for stamps in silhouettes])
    for channel, stamps, number in zip(CHANNELS, silhouettes, numbers, strict=False):
        side = stamps.shape[-1]
        row, column = (len(image) - side) // 2 + rng.integers(-_OFF, _OFF + 1, 2)
        contrast = synthetic.SHAPE * rng.uniform(*synthetic.BIASED_CONTRAST)
        image[row : row + side, column : column + side, channel] += contrast * stamps[number]


@functools.cache
def _photographs(root: str, size: int, split: str) -> Dataset:
    data = common.base().data
    data.source, data.root = "folder", root
    return Dataset(open_folder(data, split), size)
