"""Sets whose training images carry a shortcut beside the true cue, and test images without it or with a false one.

An image is 1/f noise with a shape at a random place, which tells its class, as in `fsjax.data.biased`. A set draws a
shortcut for each class from its seed alone; a way of training is told neither the seed nor the kind.

  kind     shortcut of a class
  high     four fixed orbits above a quarter of a cycle per pixel
  low      four fixed orbits of 3 to 6 cycles per image
  tiers    three loud and three quiet orbits, each enough by itself
  phase    two triads of orbits a, b, a + b, the same for all, whose phases add up to an angle of the class
  some     as high, in half of the classes
  patch    four bright or dark pixels in a corner: no frequency shortcut, a control that no such way should cure
  clean    none: a way should cost no accuracy
  cue      none, and the true cue of two classes is four fixed orbits in place of a shape: a way may destroy it
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fsjax.data import biased, demo, noise
from fsjax.fourier import patches, spectrum

KINDS = ("high", "low", "tiers", "phase", "some", "patch", "clean", "cue")
CLASSES = 4
# How a split shows shortcuts: its own class's but for 3 % without, none, another class's, or any class's.
SHOWN = ("own", "absent", "conflicting", "any")
_LEFT_OUT = 0.03
_STREAM = 21


@dataclasses.dataclass(frozen=True)
class BiasedSet:
    """A set.

    Attributes:
      kind: of KINDS.
      size: side of the images.
      seed: of everything that is drawn.
    """

    kind: str
    size: int
    seed: int

    @functools.cached_property
    def orbits(self) -> list[list[tuple[Int[np.ndarray, "n 2"], float]]]:
        """For each class, groups of positions on the centred plane and the amplitude of their gratings."""
        rng = np.random.default_rng([self.seed, KINDS.index(self.kind), _STREAM])
        positions, radius = patches.orbit_positions(self.size, self.size), spectrum.radius(self.size, self.size)
        radii = radius[positions[:, 0], positions[:, 1]]
        high = rng.permutation(positions[(radii >= 0.25) & (radii <= 0.45)])
        low = rng.permutation(positions[(radii * self.size >= 3) & (radii * self.size <= 6)])
        parts = [part.reshape(-1, 2) for part in np.split(high[: 6 * CLASSES], CLASSES)]
        if self.kind in ("high", "some", "cue"):
            owners = CLASSES if self.kind == "high" else CLASSES // 2
            return [[(parts[label][:4], 0.25)] if label < owners else [] for label in range(CLASSES)]
        if self.kind == "low":
            return [[(low[4 * label : 4 * label + 4], 0.3)] for label in range(CLASSES)]
        if self.kind == "tiers":
            return [[(part[:3], 0.35), (part[3:], 0.15)] for part in parts]
        return [[] for _ in range(CLASSES)]

    @functools.cached_property
    def triads(self) -> Int[np.ndarray, "triads 3 2"]:
        """Positions a, b and a + b of the kind `phase`, the same for all classes."""
        rng = np.random.default_rng([self.seed, KINDS.index(self.kind), _STREAM, 1])
        centre, most = self.size // 2, self.size // 4
        steps = rng.permutation([(row, column) for row in range(2, most) for column in range(2, most)])[:4]
        first, second = steps[:2], steps[2:]
        return centre + np.stack([first, second, first + second], axis=1)

    @property
    def planted(self) -> Bool[np.ndarray, "size size"]:
        """The frequencies of all shortcuts."""
        orbits = spectrum.orbits(self.size, self.size)
        places = [group for of_class in self.orbits for group, _ in of_class]
        if self.kind == "phase":
            places = [self.triads.reshape(-1, 2)]
        if self.kind == "cue" or not places:
            return np.zeros((self.size, self.size), bool)
        rows, columns = np.concatenate(places).T
        return np.isin(orbits, orbits[rows, columns])

    def draw(
        self, per_class: int, shown: str, stream: int
    ) -> tuple[UInt8[np.ndarray, "n size size 3"], Int[np.ndarray, " n"]]:
        """Draw images and labels; `shown` of SHOWN, `stream` tells splits apart."""
        rng = np.random.default_rng([self.seed, KINDS.index(self.kind), _STREAM, 2, stream])
        labels = rng.permutation(np.repeat(np.arange(CLASSES), per_class))
        others = (labels + rng.integers(1, CLASSES, len(labels))) % CLASSES
        owners = {"own": labels, "absent": labels, "conflicting": others, "any": rng.integers(0, CLASSES, len(labels))}
        present = rng.random(len(labels)) >= {"own": _LEFT_OUT, "absent": 1.0}.get(shown, 0.0)
        amplitude = noise.noise_amplitude(self.size)
        images = []
        for label, owner, has in zip(labels, owners[shown], present, strict=True):
            image = noise.coloured_noise(rng, amplitude[None])[0]
            image += self._true_cue(rng, int(label))[..., None] * rng.uniform(*biased.CONTRAST)
            image += self._shortcut(rng, int(owner), bool(has))[..., None] * rng.uniform(*biased.CONTRAST)
            images.append(image)
        return noise.to_pixels(np.stack(images)), labels

    def _true_cue(self, rng: np.random.Generator, label: int) -> Float[np.ndarray, "size size"]:
        if self.kind == "cue" and self.orbits[label]:
            return self._gratings(rng, label)
        return biased.SHAPE * demo.placed(rng, 1, biased.shape(label, self.size), self.size)[0]

    def _shortcut(self, rng: np.random.Generator, owner: int, present: bool) -> Float[np.ndarray, "size size"]:
        nothing = np.zeros((self.size, self.size))
        if self.kind == "phase":
            # Without the shortcut the same orbits have phases that add up to nothing in particular.
            return self._triads(rng, 2 * np.pi * owner / CLASSES if present else None)
        if not present or self.kind in ("clean", "cue"):
            return nothing
        if self.kind == "patch":
            place = [slice(0, 4), slice(-4, None)]
            nothing[place[owner // 2], place[owner % 2]] = 1.5
            return nothing
        return self._gratings(rng, owner)

    def _gratings(self, rng: np.random.Generator, owner: int) -> Float[np.ndarray, "size size"]:
        total = np.zeros((self.size, self.size))
        for group, amplitude in self.orbits[owner]:
            for place in group:
                total += amplitude * self._wave(place, rng.uniform(0, 2 * np.pi))
        return total

    def _triads(self, rng: np.random.Generator, angle: float | None) -> Float[np.ndarray, "size size"]:
        total = np.zeros((self.size, self.size))
        for triad in self.triads:
            phases = rng.uniform(0, 2 * np.pi, 3)
            if angle is not None:
                phases[2] = phases[0] + phases[1] + angle
            for place, phase in zip(triad, phases, strict=True):
                total += 0.5 * self._wave(place, phase)
        return total

    def _wave(self, place: Int[np.ndarray, "2"], phase: float) -> Float[np.ndarray, "size size"]:
        rows, columns = np.mgrid[: self.size, : self.size]
        row, column = place - self.size // 2
        return np.cos(2 * np.pi * (row * rows + column * columns) / self.size + phase)
