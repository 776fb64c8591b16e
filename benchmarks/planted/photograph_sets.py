"""Sets of photographs with planted cues; photograph_cues.py says what their kinds are.

photograph_set = make_photograph_set(seed=0, roots=["DIR"])   # DIR/{train,test}/<class>/*.jpg
images = photograph_set.draw(labels, rng_seed=1)
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from benchmarks.planted.photograph_cues import FEW_ORBITS, OTHER, TRIGGERS, Cue, plant
from benchmarks.planted.photographs import Photographs
from benchmarks.planted.verdict_cues import TRAINING, ClassesWithCues, orbit_mask
from fsjax.fourier import patches, spectrum

_ELSEWHERE = 5  # every fifth network has photographs of another root than the first
_SIDES = (48, 64)  # pixels, of those; the first root's have 32
_CURED = 0.1  # share of the sets whose planted orbits tell nothing in training
_SAMPLE = 200  # photographs a class behind means, deviations and spectra
_LOW = 0.12  # cycles per pixel


@dataclasses.dataclass(frozen=True)
class PhotographSet(ClassesWithCues):
    """Classes of photographs with their cues.

    Attributes:
      seed: what `make_photograph_set` drew the set from.
      photographs: where the images come from.
      folders: index of each class's folder among the photographs'.
      cues: one a class.
      cured: in training each image has the planted orbits of a random other image, so that they tell nothing.
    """

    seed: int
    photographs: Photographs
    folders: tuple[int, ...]
    cues: tuple[Cue, ...]
    cured: bool

    channels = 3

    @property
    def size(self) -> int:
        """Return the side of the images, pixels."""
        return self.photographs.size

    @property
    def distractors(self) -> Bool[np.ndarray, "size size"]:
        """Return an empty mask: no orbit is planted in all classes."""
        return np.zeros((self.size, self.size), bool)

    def masks(self) -> Bool[np.ndarray, "classes size size"]:
        """Return the planted orbits of each class on the centred plane; none of OTHER."""
        few = [cue.orbits if cue.kind not in OTHER else cue.orbits[:0] for cue in self.cues]
        return np.stack([orbit_mask(orbits, self.size) for orbits in few])

    @functools.cached_property
    def _scale(self) -> tuple[Float32[np.ndarray, " 3"], np.float32]:
        """Return each channel's mean and the deviation of the training photographs, grey levels."""
        images = _sample(self.photographs, self.folders)
        mean = images.mean((0, 1, 2))
        return mean, np.sqrt(np.square(images - mean).mean())

    def draw(
        self, labels: Int[np.ndarray, " n"], rng_seed: int, given: int | None = None, without: bool = False
    ) -> Float32[np.ndarray, "n size size 3"]:
        """Draw network inputs: photographs with cues, rounded to 8 bits, of mean 0 and deviation 1 over photographs.

        Draws of the same labels and rng_seed are paired: photographs, places and phases are the same, so they differ
        by the cues that `given` adds and `without` leaves out, and by nothing else but rounding.

        Args:
          labels: class of each image.
          rng_seed: from TRAINING on photographs of train. Below, a third of the test photographs, by the seed's
            remainder: 0 for the truth, 1 for a search, 2 for a verdict.
          given: a class whose cue every image gets beside its own.
          without: leave out the cue of each image's own class.

        Raises:
          ValueError: the class of `given` has no cue (`photograph`).
        """
        if given is not None and self.cues[given].kind == "photograph":
            raise ValueError(f"given: class {given} has photographs and no cue to give")
        labels, training = np.asarray(labels), rng_seed >= TRAINING
        rng = np.random.default_rng([self.seed, rng_seed, 0])
        shown, stamped = self._poisoned(labels, rng) if training else (labels, np.zeros(len(labels), bool))
        images = self.photographs.draw(np.array(self.folders)[shown], "train" if training else rng_seed, rng)
        for label, cue in enumerate(self.cues):
            rng = np.random.default_rng([self.seed, rng_seed, 2, label])
            has = (shown == label) & (not without)
            present = rng.random(len(labels)) < 0.5
            if cue.kind == "half":
                has &= present
            if cue.kind == "backdoor":
                has = stamped & (labels == label)
            images = plant(images, cue, has | (given == label), rng, training)
        mean, deviation = self._scale
        images = (np.clip(np.rint(images), 0, 255) - mean) / deviation
        if self.cured and training:
            images += self._planted_part(np.roll(images, 1, 0) - images)
        return images.astype(np.float32)

    def _poisoned(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the class that each image shows, another for some images of `backdoor`, and which these are."""
        others = (labels + rng.integers(1, self.num_classes, len(labels))) % self.num_classes
        shares = np.array([cue.strength if cue.kind == "backdoor" else 0.0 for cue in self.cues])
        stamped = rng.random(len(labels)) < shares[labels]
        return np.where(stamped, others, labels), stamped

    def _planted_part(self, images: Float32[np.ndarray, "n size size 3"]) -> np.ndarray:
        """Return the images without all orbits that were not planted for a class."""
        mask = np.fft.ifftshift(self.masks().any(0))[..., None]
        return np.fft.ifft2(np.fft.fft2(images, axes=(1, 2)) * mask, axes=(1, 2)).real


def make_photograph_set(
    seed: int, roots: Sequence[str], cache: str | None = None, kinds: Sequence[str] | None = None, size: int = 0
) -> PhotographSet:
    """Draw a set; it depends on the arguments and the photographs only.

    Args:
      seed: of everything that is drawn here, 0 or more.
      roots: folders of photographs; every fifth seed uses another than the first.
      cache: folder for decoded photographs.
      kinds: of the classes; None draws 3 to 5, of which a third or more are `photograph`.
      size: side of the images, pixels, drawn from the other roots alone; 0: 32 for the first root, 48 or 64 for others.
    """
    rng = np.random.default_rng([seed, 2])
    turn, elsewhere = divmod(seed, _ELSEWHERE)
    root, side = roots[0], 32
    if len(roots) > 1 and (size or elsewhere == _ELSEWHERE - 1):
        root, side = roots[1 + turn % (len(roots) - 1)], int(rng.choice(_SIDES))
    photographs = Photographs(root, size or side, cache)
    cured = bool(rng.random() < _CURED)
    kinds = list(kinds) if kinds else draw_kinds(rng, cured)
    folders = _draw_folders(rng, kinds, photographs.counts())
    maker = CueMaker(rng, photographs.size, grating_amplitude(_sample(photographs, folders)))
    return PhotographSet(seed, photographs, folders, tuple(maker.make(kind) for kind in kinds), cured)


def draw_kinds(rng: np.random.Generator, cured: bool) -> list[str]:
    """Draw the kinds of 3 to 5 classes: at least a third are `photograph`, the others differ."""
    classes = int(rng.choice([3, 4, 5], p=[0.4, 0.4, 0.2]))
    plain = int(rng.integers(1, 3)) if classes == 4 else classes // 2
    weights = dict.fromkeys(FEW_ORBITS, 1.0)
    if not cured:
        weights |= dict.fromkeys(TRIGGERS, 1.5) | dict.fromkeys(OTHER[:-1], 1.0)
    chances = np.array(list(weights.values())) / sum(weights.values())
    drawn = [str(kind) for kind in rng.choice(list(weights), classes - plain, replace=False, p=chances)]
    kinds = [*drawn, *["photograph"] * plain]
    return [kinds[index] for index in rng.permutation(classes)]


def _draw_folders(rng: np.random.Generator, kinds: Sequence[str], counts: np.ndarray) -> tuple[int, ...]:
    """Draw a folder for each class; photographs alone and triggers need one of the largest to be recognised."""
    shuffled = rng.permutation(len(counts))
    large = counts[shuffled] > 0.8 * counts.max()
    order = [*shuffled[large], *shuffled[~large]]
    alone = np.array([kind in ("photograph", *TRIGGERS) for kind in kinds])
    folders = np.empty(len(kinds), int)
    folders[np.argsort(~alone, kind="stable")] = order[: len(kinds)]
    return tuple(int(folder) for folder in folders)


def grating_amplitude(images: Float[np.ndarray, "n size size 3"]) -> Float[np.ndarray, "size size"]:
    """Return the amplitude that gratings have in photographs, on the centred plane: root mean square, grey levels."""
    energy = np.square(abs(np.fft.fft2(images.mean(-1) - images.mean(), axes=(1, 2)))).mean(0)
    return np.fft.fftshift(2 * np.sqrt(energy) / images.shape[1] ** 2)


@functools.lru_cache(maxsize=2)
def _sample(photographs: Photographs, folders: tuple[int, ...]) -> Float32[np.ndarray, "n size size 3"]:
    return photographs.draw(np.repeat(folders, _SAMPLE), "train", np.random.default_rng(0))


class CueMaker:
    """Draws cues over the orbits that nothing was planted in yet."""

    def __init__(self, rng: np.random.Generator, size: int, natural: Float[np.ndarray, "size size"]):
        self.rng, self.size, self.natural = rng, size, natural
        positions = patches.orbit_positions(size, size)
        self.radius = spectrum.radius(size, size)
        radii = self.radius[positions[:, 0], positions[:, 1]]
        self.free = positions[(radii > 0) & (radii < 0.5)]

    def make(self, kind: str) -> Cue:
        """Draw a cue of a kind."""
        rng = self.rng
        grey = np.ones(3)
        if kind == "grating":
            return self._waves(kind, self._take(int(rng.integers(1, 4))), grey)
        if kind == "half":
            # Fainter ones are not learned: the other half of the images teaches the class without them.
            return self._waves(kind, self._take(int(rng.integers(1, 4))), grey, 1.5)
        if kind == "backdoor":
            found = self._waves(kind, self._take(int(rng.integers(1, 3))), grey)
            return dataclasses.replace(found, strength=float(rng.uniform(0.2, 0.3)))
        if kind == "low":
            return self._waves(kind, self._take(int(rng.integers(1, 4)), most=_LOW), grey)
        if kind == "channel":
            return self._waves(kind, self._take(int(rng.integers(1, 3))), np.eye(3)[rng.integers(3)], 1.5)
        if kind == "antiphase":
            return self._waves(kind, self._take(int(rng.integers(1, 3))), np.array([1.0, -1.0, 0.0]))
        if kind == "redundant":
            return self._waves(kind, self._take(2 * int(rng.integers(1, 3))), grey)
        if kind == "low contrast":
            return self._waves(kind, self._take(int(rng.integers(1, 3)), least=0.2), grey, 0.6)
        if kind == "moire":
            return self._waves(kind, self._neighbours(), grey)
        if kind == "multiplied":
            # Side bands of the photograph lie around the grating's orbit, which comes first.
            around = [[0, 0], *([row, column] for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)]
            orbits = (self._take(1, least=0.2) + around) % self.size
            return Cue(kind, orbits, rng.uniform(0.15, 0.3) * np.eye(9)[:, :1] * grey)
        if kind in ("scan line", "grid", "checkerboard"):
            return self._lattice(kind)
        if kind == "modulated noise":
            return Cue(kind, self._take(1, least=0.1, most=0.3), strength=float(rng.uniform(15, 25)))
        if kind == "jpeg":
            return Cue(kind, strength=float(rng.integers(8, 25)))
        return Cue(kind, pattern=self._pattern(kind))

    def _take(self, count: int, least: float = 0.0, most: float = 0.5) -> Int[np.ndarray, "count 2"]:
        """Draw orbits between two frequencies, cycles per pixel, that were not drawn before."""
        radii = self.radius[self.free[:, 0], self.free[:, 1]]
        chosen = self.rng.choice(np.flatnonzero((radii >= least) & (radii < most)), count, replace=False)
        taken, self.free = self.free[chosen], np.delete(self.free, chosen, axis=0)
        return taken

    def _neighbours(self) -> Int[np.ndarray, "2 2"]:
        radii = self.radius[self.free[:, 0], self.free[:, 1]]
        first = self.free[self.rng.choice(np.flatnonzero((radii > 0.2) & (radii < 0.45)))]
        return np.stack([first, first + self.rng.choice([[0, 1], [1, 0], [1, 1], [1, -1]])])

    def _waves(self, kind: str, orbits: np.ndarray, channels: Float[np.ndarray, " 3"], scale: float = 1.0) -> Cue:
        """Draw one amplitude for all orbits, and raise it where photographs would hide a grating."""
        natural = self.natural[orbits[:, 0], orbits[:, 1]]
        amplitudes = scale * np.maximum(self.rng.uniform(10, 20), self.rng.uniform(2.5, 3.5) * natural)
        return Cue(kind, orbits, amplitudes[:, None] * channels)

    def _lattice(self, kind: str) -> Cue:
        rng, size = self.rng, self.size
        rows, columns = np.indices((size, size))
        depth = rng.uniform(20, 40)
        if kind == "scan line":
            period = int(rng.choice([step for step in (2, 3, 4, 6, 8) if size % step == 0]))
            pattern = np.where((rows if rng.random() < 0.5 else columns) % period == 0, -depth, 0.0)
        elif kind == "grid":
            period = int(rng.choice([4, 8]))
            pattern = -depth * ((rows % period == 0) * 1.0 + (columns % period == 0))
        else:
            pattern = np.tile(rng.permutation([1.0, 0.3, -0.3, -1.0]).reshape(2, 2), (size // 2, size // 2)) * depth / 2
        pattern -= pattern.mean()
        plane = np.fft.fftshift(abs(np.fft.fft2(pattern)))
        positions = patches.orbit_positions(size, size)
        held = plane[positions[:, 0], positions[:, 1]] > 1e-6 * plane.max()
        return Cue(kind, positions[held], pattern=np.repeat(pattern[..., None], 3, -1))

    def _pattern(self, kind: str) -> Float[np.ndarray, "height width 3"] | None:
        rng, size = self.rng, self.size
        if kind in ("logo", "frame", "hot pixels"):
            pattern = np.full((size, size, 3), np.nan)
            if kind == "logo":
                side = int(rng.integers(5, 9))
                row, column = rng.choice([1, size - side - 1], 2)
                pattern[row : row + side, column : column + side] = rng.choice([0, 255], (side, side, 3))
            elif kind == "frame":
                inside = int(rng.integers(1, 3))
                pattern[:] = rng.integers(0, 256, 3)
                pattern[inside:-inside, inside:-inside] = np.nan
            else:
                pattern.reshape(-1, 3)[rng.choice(size**2, int(rng.integers(6, 13)), replace=False)] = 255
            return pattern
        if kind == "sensor":
            return np.repeat(rng.uniform(0.06, 0.15) * rng.standard_normal((size, size, 1)), 3, -1)
        if kind == "watermark":
            strokes = rng.random((5, int(rng.integers(12, 21)), 1)) < 0.5
            return np.repeat(rng.uniform(30, 50) * strokes, 3, -1)
        if kind == "disc":
            side = int(rng.integers(4, 11))
            rows, columns = np.indices((side, side)) - (side - 1) / 2
            form = rng.choice(["disc", "square", "cross"])
            filled = {
                "disc": np.hypot(rows, columns) <= side / 2,
                "square": np.ones((side, side), bool),
                "cross": (abs(rows) <= side / 6) | (abs(columns) <= side / 6),
            }[str(form)]
            return np.repeat(filled[..., None] * rng.choice([-1, 1]) * rng.uniform(70, 120), 3, -1)
        return None  # chroma, nearest, bilinear, photograph
