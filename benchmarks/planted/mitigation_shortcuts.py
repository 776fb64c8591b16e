"""Shortcuts of the mitigation benchmark: additions to an image that indicate its class in training.

kind     shortcut of a class
high     four fixed orbits above a quarter of a cycle per pixel
low      four fixed orbits of 3 to 6 cycles per image
tiers    three loud and three quiet orbits, each sufficient
phase    two triads of orbits a, b, a + b, shared by all classes, whose phases add up to an angle of the class
some     as high, in half of the classes
patch    a bright or dark square in a corner, for at most twelve classes: no frequency shortcut, a control
clean    none: a way should cost no accuracy
cue      none, and the true cue of half of the classes is four fixed orbits, which a way may destroy
texture  noise of nine neighbouring orbits above a quarter of a cycle: each is strong in some of the images only
absence  four orbits as in high, in all other classes' images and not in the class's
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import patches, spectrum

KINDS = ("high", "low", "tiers", "phase", "some", "patch", "clean", "cue", "texture", "absence")
STREAM = 21  # part of seeds, so that no other set draws the same numbers


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """The shortcuts of all classes of a set.

    Attributes:
      kind: of KINDS.
      size: side of the images.
      seed: of the frequencies.
      classes: how many.
    """

    kind: str
    size: int
    seed: int
    classes: int

    @functools.cached_property
    def orbits(self) -> list[list[tuple[Int[np.ndarray, "n 2"], float]]]:
        """For each class, groups of positions on the centred plane and the amplitude of their gratings."""
        rng = np.random.default_rng([self.seed, KINDS.index(self.kind), STREAM])
        positions, radius = patches.orbit_positions(self.size, self.size), spectrum.radius(self.size, self.size)
        radii = radius[positions[:, 0], positions[:, 1]]
        high = rng.permutation(positions[(radii >= 0.25) & (radii <= 0.45)])
        low = rng.permutation(positions[(radii * self.size >= 3) & (radii * self.size <= 6)])
        parts = [part.reshape(-1, 2) for part in np.split(high[: 6 * self.classes], self.classes)]
        if self.kind in ("high", "absence", "some", "cue"):
            owners = self.classes if self.kind in ("high", "absence") else self.classes // 2
            return [[(part[:4], 0.25)] if label < owners else [] for label, part in enumerate(parts)]
        if self.kind == "low":
            return [[(low[4 * label : 4 * label + 4], 0.3)] for label in range(self.classes)]
        if self.kind == "tiers":
            return [[(part[:3], 0.35), (part[3:], 0.15)] for part in parts]
        if self.kind == "texture":
            return [[(block, 0.12)] for block in self._blocks(high)]
        return [[] for _ in range(self.classes)]

    def _blocks(self, centres: Int[np.ndarray, "n 2"]) -> list[Int[np.ndarray, "9 2"]]:
        """Return 3 x 3 positions a class around the first centres whose squares, and their conjugates, do not meet."""
        around = np.stack(np.mgrid[-1:2, -1:2], -1).reshape(9, 2)
        taken: list[np.ndarray] = []
        for centre in centres:
            if all(np.abs(centre - other).max() > 2 for other in taken):
                taken += [centre, self.size // 2 * 2 - centre]
        if len(taken) < 2 * self.classes:
            raise ValueError(f"texture: {self.classes} classes do not fit on the plane of {self.size} x {self.size}")
        return [centre + around for centre in taken[: 2 * self.classes : 2]]

    @functools.cached_property
    def triads(self) -> Int[np.ndarray, "triads 3 2"]:
        """Positions a, b and a + b of the kind `phase`, the same for all classes."""
        rng = np.random.default_rng([self.seed, KINDS.index(self.kind), STREAM, 1])
        centre, most = self.size // 2, self.size // 4
        steps = rng.permutation([(row, column) for row in range(2, most) for column in range(2, most)])[:4]
        first, second = steps[:2], steps[2:]
        return centre + np.stack([first, second, first + second], axis=1)

    @property
    def planted(self) -> Bool[np.ndarray, "size size"]:
        """The frequencies of all shortcuts."""
        orbits = spectrum.orbits(self.size, self.size)
        places = [group for class_groups in self.orbits for group, _ in class_groups]
        if self.kind == "phase":
            places = [self.triads.reshape(-1, 2)]
        if self.kind == "cue" or not places:
            return np.zeros((self.size, self.size), bool)
        rows, columns = np.concatenate(places).T
        return np.isin(orbits, orbits[rows, columns])

    def draw(self, rng: np.random.Generator, owner: int, present: bool) -> Float[np.ndarray, "size size"]:
        """Draw the addition to an image, in deviations of the noise: the shortcut of the class `owner`, or none."""
        nothing = np.zeros((self.size, self.size))
        if self.kind == "phase":
            # Without the shortcut the same orbits have phases that add up to nothing in particular.
            return self._triads(rng, 2 * np.pi * owner / self.classes if present else None)
        if self.kind == "absence":
            shown = [label for label in range(self.classes) if label != owner or not present]
            return np.sum([self.gratings(rng, label) for label in shown], axis=0)
        if not present or self.kind in ("clean", "cue"):
            return nothing
        if self.kind == "patch":
            place = [slice(0, 4), slice(-4, None)]
            nothing[place[owner // 2 % 2], place[owner % 2]] = (1.5, -1.5, 0.7)[owner // 4]
            return nothing
        return self.gratings(rng, owner)

    def gratings(self, rng: np.random.Generator, owner: int) -> Float[np.ndarray, "size size"]:
        """Draw the gratings of a class, each of a random phase, and for `texture` of a random amplitude."""
        total = np.zeros((self.size, self.size))
        for group, amplitude in self.orbits[owner]:
            for place in group:
                drawn = amplitude * rng.rayleigh() if self.kind == "texture" else amplitude
                total += drawn * self._wave(place, rng.uniform(0, 2 * np.pi))
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
