"""Image sets with planted orbits that indicate the class alone, jointly or redundantly.

An image is 1/f noise of random phase, with mean 0 and standard deviation 1, independent in each channel, plus gratings
common to the channels. Each grating is one orbit at a random phase. Every class but the last owns groups of orbits; no
two classes share an orbit.

  kind       groups x members   members of its own groups in an image of a class
  single          6 x 1         one group, drawn for each image
  pair            3 x 2         one group whole, one empty, one member of the third
  triple          2 x 3         one group whole, one member of the other
  redundant       3 x 2         every group whole

An image holds all members but one, drawn at random, of each group of the other classes. An image of the last class does
so for all groups. So an image belongs to a class if one of the class's groups is whole. In `pair` and `triple` a single
orbit is as frequent in its class as elsewhere (1/2 and 2/3): neither it nor any sum over orbits indicates the class. In
all kinds but `redundant` no group replaces another, since an image of the class has only one whole group: a model that
is right on all images reads all groups. In `redundant` any one group indicates the class, and removing one changes
nothing.

Distractors are stronger orbits that are in every image of every class. They carry no class information.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int

from fsjax.data.noise import noise_amplitude
from fsjax.fourier import patches, spectrum

KINDS = {"single": (6, 1), "pair": (3, 2), "triple": (2, 3), "redundant": (3, 2)}
CLASSES = 4  # the last class owns no orbits
GRATING = 0.5  # amplitude of a planted orbit, in standard deviations of the noise
DISTRACTORS, DISTRACTING = 8, 0.75  # number of distractors, and their amplitude
# Cycles per pixel: below LOWEST the noise hides a grating; beyond HIGHEST only the corners of the plane are left.
LOWEST, HIGHEST = 0.2, 0.5


@dataclasses.dataclass(frozen=True)
class PlantedSet:
    """A set of images and its planted orbits.

    Attributes:
      kind: a name of KINDS.
      size: side of the images, pixels.
      groups: (row, column) on the centred plane of a position of each planted orbit.
      distractors: the same for the distractors.
      planted: True at the planted orbits of each class; nowhere in the last class.
      images, labels: by split, 'train' and 'test'; images are normalised, labels in class order.
    """

    kind: str
    size: int
    groups: Int[np.ndarray, "owners groups members 2"]
    distractors: Int[np.ndarray, "distractors 2"]
    planted: Bool[np.ndarray, "classes size size"]
    images: dict[str, Float32[np.ndarray, "images size size 3"]]
    labels: dict[str, Int[np.ndarray, " images"]]

    @property
    def share(self) -> float:
        """Return the share of the plane with as many positions as are planted in a class."""
        return float(self.planted[0].mean())


def make_set(kind: str, size: int = 32, *, train: int = 32, test: int = 64, seed: int = 0) -> PlantedSet:
    """Return a set with `train` and `test` images of each class; its planted orbits depend on kind, size and seed only.

    Raises:
      ValueError: unknown kind, or a plane with too few orbits.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is unknown; expected {', '.join(KINDS)}")
    groups, distractors = plant(kind, size, np.random.default_rng([seed, 0]))
    orbits = spectrum.orbits(size, size)
    planted = np.zeros((CLASSES, size, size), bool)
    for label, own in enumerate(groups.reshape(len(groups), -1, 2)):
        planted[label] = np.isin(orbits, orbits[own[:, 0], own[:, 1]])
    labels = {split: np.repeat(np.arange(CLASSES), count) for split, count in (("train", train), ("test", test))}
    images = {
        split: draw(kind, size, groups, distractors, labels[split], np.random.default_rng([seed, stream]))
        for stream, split in enumerate(("train", "test"), 1)
    }
    return PlantedSet(kind, size, groups, distractors, planted, images, labels)


def plant(
    kind: str, size: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "owners groups members 2"], Int[np.ndarray, "distractors 2"]]:
    """Draw positions of the planted orbits and of the distractors, no orbit twice."""
    shape = (CLASSES - 1, *KINDS[kind])
    positions, radius = patches.orbit_positions(size, size), spectrum.radius(size, size)
    radius = radius[positions[:, 0], positions[:, 1]]
    # Within the circle every orbit but DC is a pair.
    candidates = positions[(radius >= LOWEST) & (radius < HIGHEST)]
    count = int(np.prod(shape))
    if len(candidates) < count + DISTRACTORS:
        raise ValueError(f"size: {size} pixels hold {len(candidates)} orbits; needed: {count + DISTRACTORS}")
    chosen = rng.choice(candidates, count + DISTRACTORS, replace=False)
    return chosen[:count].reshape(*shape, 2), chosen[count:]


def draw(
    kind: str,
    size: int,
    groups: Int[np.ndarray, "owners groups members 2"],
    distractors: Int[np.ndarray, "distractors 2"],
    labels: Int[np.ndarray, " images"],
    rng: np.random.Generator,
    *,
    easy: float = 0.0,
    thinned: float = 0.0,
) -> Float32[np.ndarray, "images size size 3"]:
    """Draw new images of these classes.

    In a share `easy` of the images, groups that are not whole are empty. In a share `thinned` of the images, a random
    factor weakens noise and distractors, and the orbits of each other class are left out with probability 1/2, similar
    to the effect of masks.
    """
    white = rng.standard_normal((len(labels), 3, size, size), np.float32)
    amplitude = np.fft.ifftshift(noise_amplitude(size))[:, : size // 2 + 1].astype(np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(size, size))
    present = members_present(kind, labels, rng)
    emptied = rng.random(len(labels)) < easy
    present &= present.all(-1, keepdims=True) | ~emptied[:, None, None, None]
    thin = rng.random(len(labels)) < thinned
    left = np.where(thin, rng.random(len(labels)), 1)[:, None]
    own = labels[:, None] == np.arange(len(groups))
    present &= (own | ~thin[:, None] | (rng.random(own.shape) < 0.5))[:, :, None, None]
    planted = GRATING * present.reshape(len(labels), -1)
    amplitudes = np.concatenate([planted, DISTRACTING * left.repeat(len(distractors), 1)], axis=1)
    phases = rng.uniform(0, 2 * np.pi, amplitudes.shape)
    waves = make_waves(np.concatenate([groups.reshape(-1, 2), distractors]), size)
    gratings = np.tensordot(amplitudes * np.cos(phases), waves[:, 0], 1)
    gratings -= np.tensordot(amplitudes * np.sin(phases), waves[:, 1], 1)
    return np.ascontiguousarray(np.moveaxis(left[:, :, None, None] * noise + gratings[:, None], 1, -1), np.float32)


def make_waves(positions: Int[np.ndarray, "n 2"], size: int) -> Float32[np.ndarray, "n 2 {size} {size}"]:
    """Return cosine and sine, over the pixels, of the frequency at each (row, column) of the centred plane."""
    # From a table, since the angle of a high frequency far from the corner has a larger rounding error.
    table = jnp.asarray(np.exp(2j * np.pi * np.arange(size) / size).astype(np.complex64))
    turns = (positions[:, :, None] - size // 2) * np.arange(size) % size
    exponentials = table[turns[:, 0]][:, :, None] * table[turns[:, 1]][:, None, :]
    return np.asarray(jnp.stack([exponentials.real, exponentials.imag], axis=1))


def members_present(
    kind: str, labels: Int[np.ndarray, " images"], rng: np.random.Generator
) -> Bool[np.ndarray, "images owners groups members"]:
    """Draw the members of each group that each image holds, by the table at the top of this file."""
    groups, members = KINDS[kind]
    owners = CLASSES - 1
    count = np.full((len(labels), owners, groups), members - 1)
    owned = np.flatnonzero(labels < owners)
    own = np.full(groups, members - 1)
    # One group gains a member and another loses one, so their number stays the same; not possible for single orbits.
    own[:2] = (members, max(members - 2, 0))
    if kind == "redundant":
        own[:] = members
    count[owned, labels[owned]] = rng.permuted(np.tile(own, (len(owned), 1)), axis=1)
    rank = rng.random((*count.shape, members)).argsort(-1)
    return rank < count[..., None]
