"""Image sets whose classes have cues of a known kind: few orbits of the plane, or something else.

An image is noise of amplitude 1/f^a (DC 0, standard deviation 1), plus gratings of random phase that every class has
(distractors), plus the cue of its class. Images are float32 network inputs, without clipping or rounding.

Few orbits (FEW_ORBITS); gratings have random phases unless stated otherwise:

  high         1-6 orbits beyond 0.25 cycles/pixel
  low          1-6 orbits below 0.12 cycles/pixel
  few          1-2 orbits anywhere
  redundant    two groups of 2-3 orbits, both present in every image, each sufficient alone
  phase        every class has these orbits at the same amplitudes; only this class locks their phases: to fixed values
               ("fixed"), or phase(a+b) = phase(a) + phase(b) for triads a, b, a+b of random shift ("triad")
  competition  1-4 orbits, beside a class of the same set whose gratings are several times stronger

Anything else (OTHER):

  slope        the noise of the class has a flatter spectrum
  texture      additional noise in a broad ring of frequencies
  shape        a cross, square or ring of a few pixels at a random place; may shift DC
  brightness   the class is brighter (DC)
  default      no cue; at most one class of a set
  ignored      1-3 weak orbits in some of the class's images, beside an easy cue in all: brightness or a shape
  absence      the class lacks orbits that every other class has
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import fft

from fsjax.fourier import spectrum

FEW_ORBITS = ("high", "low", "few", "redundant", "phase", "competition")
OTHER = ("slope", "texture", "shape", "brightness", "default", "ignored", "absence")
PHASES = ("fixed", "triad")  # ways to lock phases
TRAINING = 2**32  # training images take values of rng_seed from here on
FORMS = {  # stamps of shapes
    "cross": np.array([[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]),
    "square": np.ones((4, 4)),
    "ring": np.pad(np.zeros((4, 4)), 1, constant_values=1),
}


@dataclasses.dataclass(frozen=True)
class Cue:
    """What tells one class from the others.

    Attributes:
      kind: a name of FEW_ORBITS or OTHER.
      orbits: (row, column) on the centred plane of a position of each planted orbit; for `absence` the missing orbits.
        `redundant`: the first half is one group, the second half the other. Triads: a, b, a+b, one after the other.
      amplitudes: of their gratings, in standard deviations of the noise.
      phases: the locked phases, radians, where they are fixed.
      present: share of the class's images that have the gratings.
      exponent: of the class's noise.
      ring: lowest and highest frequency of the texture, cycles per pixel.
      texture: its standard deviation.
      form: name of the shape.
      height: of the shape, in standard deviations of the noise.
      leaks: whether the shape shifts the mean of the image.
      brightness: mean of the images.
    """

    kind: str
    orbits: Int[np.ndarray, "planted 2"] = dataclasses.field(default_factory=lambda: np.zeros((0, 2), int))
    amplitudes: Float[np.ndarray, " planted"] = dataclasses.field(default_factory=lambda: np.zeros(0))
    phases: Float[np.ndarray, " planted"] | None = None
    present: float = 1.0
    exponent: float | None = None
    ring: tuple[float, float] | None = None
    texture: float = 0.0
    form: str | None = None
    height: float = 0.0
    leaks: bool = False
    brightness: float = 0.0


class ClassesWithCues:
    """What a set's cues say about its classes."""

    cues: tuple

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kind of each class's cue."""
        return tuple(cue.kind for cue in self.cues)

    @property
    def num_classes(self) -> int:
        """Return the number of classes, K."""
        return len(self.cues)


@dataclasses.dataclass(frozen=True)
class CueSet(ClassesWithCues):
    """Classes with their cues, and the noise and the distractors that they share.

    Attributes:
      seed: what `make_cue_set` drew the set from.
      size: side of the images, pixels.
      channels: 1 or 3; gratings, textures and shapes are the same in all.
      exponent: a of the noise's amplitude 1/f^a.
      grey: the noise is the same in all channels too.
      cues: one a class.
      distracting: (row, column) of the orbits that every class has, and no information on the class.
      distraction: the amplitudes of their gratings.
    """

    seed: int
    size: int
    channels: int
    exponent: float
    grey: bool
    cues: tuple[Cue, ...]
    distracting: Int[np.ndarray, "distractors 2"]
    distraction: Float[np.ndarray, " distractors"]

    @property
    def distractors(self) -> Bool[np.ndarray, "size size"]:
        """Return where the distractors are on the centred plane."""
        return orbit_mask(self.distracting, self.size)

    def masks(self) -> Bool[np.ndarray, "classes size size"]:
        """Return the planted orbits of each class on the centred plane; for `absence` the missing orbits."""
        return np.stack([orbit_mask(cue.orbits, self.size) for cue in self.cues])

    def draw(
        self, labels: Int[np.ndarray, " n"], rng_seed: int, given: int | None = None, without: bool = False
    ) -> Float32[np.ndarray, "n size size channels"]:
        """Draw images.

        Draws of the same labels and rng_seed are paired: noise, distractors, places and phases are the same, so they
        differ by the cues that `given` adds and `without` leaves out, and by nothing else.

        Args:
          labels: class of each image.
          rng_seed: 0 to TRAINING - 1, since training draws from the values beyond.
          given: a class whose cue every image gets beside its own: its gratings, texture, shape, brightness or slope;
            locked phases; missing orbits for `absence`. For `ignored`: its gratings without the easy cue.
          without: leave out the cue of each image's own class: no gratings, the common slope, phases not locked; for
            `absence` the orbits are there. For `ignored`: the gratings alone, the easy cue stays.

        Raises:
          ValueError: the class of `given` has no cue (`default`).
        """
        if given is not None and self.cues[given].kind == "default":
            raise ValueError(f"given: class {given} is a default class and has no cue to give")
        labels = np.asarray(labels)
        own = labels[:, None] == np.arange(self.num_classes)
        carries = own & (not without)
        if given is not None:
            carries[:, given] = True
        images = self._noise(carries, np.random.default_rng([self.seed, rng_seed, 0]))
        common = self._gratings(
            self.distracting, self.distraction, np.random.default_rng([self.seed, rng_seed, 1]), len(labels)
        )
        for label, cue in enumerate(self.cues):
            rng = np.random.default_rng([self.seed, rng_seed, 2, label])
            has = carries[:, label]
            easy = own[:, label] if cue.kind == "ignored" else has
            if len(cue.orbits):
                present = rng.random(len(labels)) < (1 if given == label else cue.present)
                there = {"phase": np.ones_like(has), "absence": ~has}.get(cue.kind, has & present)
                locked = has & (cue.kind == "phase")
                common += self._gratings(cue.orbits, cue.amplitudes, rng, len(labels), there, locked, cue.phases)
            if cue.ring:
                common += has[:, None, None] * self._texture(cue, rng, len(labels))
            if cue.form:
                common += easy[:, None, None] * self._shapes(cue, rng, len(labels))
            common += np.float32(cue.brightness) * easy[:, None, None]
        images += common[:, None]
        return np.ascontiguousarray(np.moveaxis(images, 1, -1))

    def _noise(self, carries: np.ndarray, rng: np.random.Generator) -> Float32[np.ndarray, "n channels size size"]:
        white = rng.standard_normal((len(carries), 1 if self.grey else self.channels, self.size, self.size), np.float32)
        noise = _filtered(white, noise_amplitude(self.size, self.exponent))
        for label, cue in enumerate(self.cues):
            if cue.exponent is not None:
                has = carries[:, label]
                noise[has] = _filtered(white[has], noise_amplitude(self.size, cue.exponent))
        return np.repeat(noise, self.channels, 1) if self.grey and self.channels > 1 else noise

    def _gratings(
        self,
        positions: Int[np.ndarray, "m 2"],
        amplitudes: Float[np.ndarray, " m"],
        rng: np.random.Generator,
        count: int,
        there: np.ndarray | bool = True,
        locked: np.ndarray | bool = False,
        fixed: Float[np.ndarray, " m"] | None = None,
    ) -> Float32[np.ndarray, "count size size"]:
        """Return the sum of the gratings of each image where `there`; phases are random, or locked where `locked`."""
        phases = rng.uniform(0, 2 * np.pi, (count, len(positions)))
        if np.any(locked):
            lock = fixed
            if fixed is None:  # triads
                lock = phases.copy()
                lock[:, 2::3] = phases[:, 0::3] + phases[:, 1::3]
            phases = np.where(np.asarray(locked)[:, None], lock, phases)
        weights = np.broadcast_to(there, count)[:, None] * amplitudes
        pixels = np.arange(self.size)
        turns = (positions - self.size // 2)[:, :, None] * pixels % self.size * (2 * np.pi / self.size)
        angles = (turns[:, 0, :, None] + turns[:, 1, None, :]).reshape(len(positions), self.size**2)
        waves = np.concatenate([np.cos(angles), -np.sin(angles)]).astype(np.float32)
        factors = np.concatenate([weights * np.cos(phases), weights * np.sin(phases)], axis=1).astype(np.float32)
        return (factors @ waves).reshape(count, self.size, self.size)

    def _texture(self, cue: Cue, rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count size size"]:
        radius = spectrum.radius(self.size, self.size)
        ring = ((radius >= cue.ring[0]) & (radius < cue.ring[1])).astype(float)
        white = rng.standard_normal((count, self.size, self.size), np.float32)
        return _filtered(white, cue.texture * ring / np.sqrt(ring.mean()))

    def _shapes(self, cue: Cue, rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count size size"]:
        stamp = FORMS[cue.form]
        rows, columns = rng.integers(0, self.size - len(stamp) + 1, (2, count))
        canvas = np.zeros((count, self.size, self.size), np.float32)
        inside = np.arange(len(stamp))
        image, row, column = np.arange(count)[:, None, None], rows[:, None, None], columns[:, None, None]
        canvas[image, row + inside[:, None], column + inside] = cue.height * stamp
        return canvas if cue.leaks else canvas - canvas.mean((1, 2), keepdims=True)


def noise_amplitude(size: int, exponent: float) -> Float[np.ndarray, "size size"]:
    """Return 1/f^exponent on the centred plane, 0 at DC, scaled so that white noise keeps a deviation of 1."""
    radius = spectrum.radius(size, size)
    radius[size // 2, size // 2] = np.inf
    amplitude = radius**-exponent
    return amplitude / np.sqrt(np.square(amplitude).mean())


def orbit_mask(positions: Int[np.ndarray, "m 2"], size: int) -> Bool[np.ndarray, "size size"]:
    """Return a mask, on the centred plane, of the orbits with these (row, column) positions."""
    orbits = spectrum.orbits(size, size)
    return np.isin(orbits, orbits[positions[:, 0], positions[:, 1]])


def _filtered(white: Float32[np.ndarray, "*n size size"], amplitude: np.ndarray) -> Float32[np.ndarray, "*n size size"]:
    size = white.shape[-1]
    half = np.fft.ifftshift(amplitude, axes=(-2, -1))[..., : size // 2 + 1].astype(np.float32)
    return fft.irfft2(fft.rfft2(white) * half, s=(size, size))
