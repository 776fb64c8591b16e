"""The ranges from which sets of the verdict benchmark are drawn; verdict_cues.py says what their kinds are.

cue_set = make_cue_set(seed=0)
images = cue_set.draw(labels, rng_seed=1)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from benchmarks.planted.verdict_cues import FEW_ORBITS, FORMS, OTHER, PHASES, TRAINING, Cue, CueSet, noise_amplitude
from fsjax.fourier import patches, spectrum

__all__ = ["FEW_ORBITS", "OTHER", "PHASES", "TRAINING", "Cue", "CueSet", "make_cue_set"]

# Chances of a side of the images, pixels, and of each kind to be drawn before the others.
_SIZES = {24: 0.34, 32: 0.34, 27: 0.1, 25: 0.06, 31: 0.06, 48: 0.06, 64: 0.04}
_FEW_WEIGHTS = {"high": 1.0, "low": 1.0, "few": 1.0, "redundant": 1.0, "phase": 1.5, "competition": 1.0}
_OTHER_WEIGHTS = {
    "slope": 1.0,
    "texture": 1.0,
    "shape": 1.0,
    "brightness": 0.7,
    "default": 2.0,
    "ignored": 1.2,
    "absence": 1.0,
}
_RIVALS = ("high", "low", "few", "redundant")
_LOW, _HIGH, _CORNERS = 0.12, 0.25, 0.5  # cycles per pixel


def make_cue_set(seed: int, phase: str | None = None, kinds: Sequence[str] | None = None) -> CueSet:
    """Draw a set; it depends on the arguments only.

    Args:
      seed: of everything that is drawn here, 0 or more.
      phase: how a `phase` class locks its phases, of PHASES; None draws it. Networks that average over positions
        cannot see fixed phases, and perceptrons do not learn triads.
      kinds: of the classes, each at most once; None draws 3 to 5.
    """
    rng = np.random.default_rng([seed, 0])
    size = int(rng.choice(list(_SIZES), p=list(_SIZES.values())))
    channels, grey = int(rng.choice([1, 3])), bool(rng.random() < 0.5)
    exponent = float(rng.uniform(0.5, 1.5))
    kinds = list(kinds) if kinds else _draw_kinds(rng)
    if "slope" in kinds:
        exponent = max(exponent, 1.0)  # room for a flatter one
    plane = _Plane(rng, size, exponent, 1 if grey else channels)
    phase = phase or str(rng.choice(PHASES))
    rival = next((kind for kind in kinds if kind in _RIVALS), None)
    cues: dict[str, Cue] = {}
    # Triads and low orbits first, while there are enough places for them.
    for kind in sorted(kinds, key=lambda kind: (kind != "phase", kind != "low", kinds.index(kind))):
        cue = _make_cue(kind, kinds, plane, phase)
        if kind == rival and "competition" in kinds:
            cue = Cue(kind, cue.orbits, cue.amplitudes * rng.uniform(2, 3))
        cues[kind] = cue
    distracting = plane.take(int(rng.choice([0, 2, 4, 6])))
    distraction = plane.amplitudes(distracting, 0.3, 1.0)
    return CueSet(seed, size, channels, exponent, grey, tuple(cues[kind] for kind in kinds), distracting, distraction)


class _Plane:
    """The orbits of a plane that nothing was planted in yet."""

    def __init__(self, rng: np.random.Generator, size: int, exponent: float, independent: int):
        self.rng, self.size = rng, size
        radius = spectrum.radius(size, size)
        positions = patches.orbit_positions(size, size)
        # Within the circle every orbit but DC is a pair.
        radii = radius[positions[:, 0], positions[:, 1]]
        self.free = positions[(radii > 0) & (radii < _CORNERS)]
        self.radius = radius
        # Amplitude of the noise at an orbit, root mean square, averaged over channels of independent noise.
        self.noise = 2 * noise_amplitude(size, exponent) / size / np.sqrt(independent)

    def take(self, count: int, low: float = 0.0, high: float = _CORNERS) -> Int[np.ndarray, "count 2"]:
        """Draw orbits between two frequencies, cycles per pixel, that were not drawn before."""
        radii = self.radius[self.free[:, 0], self.free[:, 1]]
        chosen = self.rng.choice(np.flatnonzero((radii >= low) & (radii < high)), count, replace=False)
        return self._remove(chosen)

    def take_triad(self) -> Int[np.ndarray, "3 2"]:
        """Draw orbits a, b and a + b."""
        centre = self.size // 2
        known = {tuple(position): index for index, position in enumerate(self.free - centre)}
        while True:
            first, second = self.rng.choice(len(self.free), 2, replace=False)
            total = self.free[first] + self.free[second] - 2 * centre
            # The list has one member of each orbit; a + b is a member of its orbit whichever is listed.
            third = known.get(tuple(total), known.get(tuple(-total)))
            if third is not None and third not in (first, second):
                listed = self._remove(np.array([first, second, third]))
                return np.stack([listed[0], listed[1], listed[0] + listed[1] - centre])

    def _remove(self, chosen: np.ndarray) -> np.ndarray:
        taken, self.free = self.free[chosen], np.delete(self.free, chosen, axis=0)
        return taken

    def amplitudes(
        self, positions: Int[np.ndarray, "m 2"], least: float, most: float, above_noise: float = 3.0
    ) -> Float[np.ndarray, " m"]:
        """Draw one amplitude for all, and raise it where the noise would hide a grating."""
        noise = self.noise[positions[:, 0], positions[:, 1]]
        return np.maximum(self.rng.uniform(least, most), above_noise * noise)


def _draw_kinds(rng: np.random.Generator) -> list[str]:
    """Draw the kinds of 3 to 5 classes, none twice, at least one of few orbits and one other."""
    classes = int(rng.choice([3, 4, 5], p=[0.2, 0.4, 0.4]))
    few = int(rng.integers(max(1, classes // 2), classes - 1 + (classes < 5)))
    kinds = [*_weighted(rng, _FEW_WEIGHTS, few), *_weighted(rng, _OTHER_WEIGHTS, classes - few)]
    if "competition" in kinds and not set(_RIVALS) & set(kinds):
        kinds[kinds.index("competition")] = "high"
    return [kinds[index] for index in rng.permutation(classes)]


def _weighted(rng: np.random.Generator, weights: dict[str, float], count: int) -> list[str]:
    chances = np.array(list(weights.values()))
    return [str(kind) for kind in rng.choice(list(weights), count, replace=False, p=chances / chances.sum())]


def _make_cue(kind: str, kinds: list[str], plane: _Plane, phase: str) -> Cue:
    rng = plane.rng
    if kind in ("high", "low", "few", "redundant", "competition"):
        orbits = {
            "high": lambda: plane.take(int(rng.integers(1, 7)), low=_HIGH),
            "low": lambda: plane.take(int(rng.integers(1, 7)), high=_LOW),
            "few": lambda: plane.take(int(rng.integers(1, 3))),
            "redundant": lambda: plane.take(2 * int(rng.integers(2, 4))),
            "competition": lambda: plane.take(int(rng.integers(1, 5))),
        }[kind]()
        return Cue(kind, orbits, plane.amplitudes(orbits, 0.4, 0.9))
    if kind == "phase" and phase == "triad":
        orbits = np.concatenate([plane.take_triad() for _ in range(rng.integers(1, 3))])
        return Cue(kind, orbits, plane.amplitudes(orbits, 0.7, 1.2))
    if kind == "phase":
        orbits = plane.take(int(rng.integers(2, 7)))
        phases = rng.uniform(0, 2 * np.pi, len(orbits))
        return Cue(kind, orbits, plane.amplitudes(orbits, 0.4, 0.9), phases=phases)
    if kind == "absence":
        orbits = plane.take(int(rng.integers(1, 5)))
        return Cue(kind, orbits, plane.amplitudes(orbits, 0.6, 1.0, above_noise=4.0))
    if kind == "slope":
        return Cue(kind, exponent=float(rng.uniform(0.3, 0.55)))
    if kind == "texture":
        lowest = float(rng.uniform(0.15, 0.3))
        return Cue(kind, ring=(lowest, lowest + float(rng.uniform(0.13, 0.2))), texture=float(rng.uniform(0.6, 1.0)))
    if kind == "ignored":
        orbits = plane.take(int(rng.integers(1, 4)))
        weak = 0.5 * plane.amplitudes(orbits, 0.4, 0.9)
        easy = _shape(rng) if "shape" not in kinds and rng.random() < 0.3 else {"brightness": _brightness(rng)}
        if "brightness" in kinds and "brightness" in easy:
            easy["brightness"] *= -1  # `brightness` itself is brighter
        return Cue(kind, orbits, weak, present=float(rng.uniform(0.3, 0.6)), **easy)
    if kind == "shape":
        return Cue(kind, **_shape(rng))
    return Cue(kind, brightness=_brightness(rng) if kind == "brightness" else 0.0)


def _brightness(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.4, 1.0))


def _shape(rng: np.random.Generator) -> dict:
    return {"form": str(rng.choice(list(FORMS))), "height": float(rng.uniform(2.5, 4)), "leaks": rng.random() < 0.3}
