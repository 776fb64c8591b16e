"""Classes told by one orbit each, models that read these, and their grafts in NumPy float64."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from fsjax.engine.model import Model
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.judge_maps import Candidates
from fsjax.fourier import masks, spectrum
from tests.helpers.plane import real, spectra

WAVES = ((1, 2), (2, -1), (3, 1))  # vertical and horizontal cycles of each class's wave
SHARES = (0.05, 0.2, 0.5)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Images [n, H, W, C] and their labels; a model in JAX, and the same in NumPy float64; the wave of each class."""

    images: np.ndarray
    labels: np.ndarray
    model: Model
    logits: object
    waves: tuple

    @property
    def classes(self):
        return len(self.waves)

    @property
    def plane(self):
        return self.images.shape[1:3]

    def sample(self, pairs=10, seed=4, usable=None):
        """The sample of all images, or of these indices."""
        usable = np.arange(len(self.labels)) if usable is None else usable
        return GraftSample(
            images=self.images.__getitem__,
            labels=self.labels,
            usable=usable,
            tpr=np.full(self.classes, 0.9),
            fpr=np.full(self.classes, 0.1),
            pairs=pairs,
            seed=seed,
            why_none="no images",
        )


@functools.cache
def problem(plane=(9, 7), channels=3, counts=(9, 8, 10), cue="amplitude", default=0.0, weakest=0.1):
    """Noise with a wave in each image: of its class's frequency, or with its class's phase. One object a call.

    `default` is added to the logit of class 0; the amplitudes are from `weakest` to 1.2.
    """
    rng, classes = np.random.default_rng(0), len(counts)
    labels = rng.permutation(np.repeat(np.arange(classes), counts))
    rows, columns = np.mgrid[: plane[0], : plane[1]]
    waves = WAVES[:classes] if cue == "amplitude" else WAVES[:1] * classes
    turns = np.stack([2 * np.pi * (u * rows / plane[0] + v * columns / plane[1]) for u, v in waves])
    own = 2 * np.pi * np.arange(classes) / classes if cue == "phase" else np.zeros(classes)
    jitter = rng.uniform(0, 2 * np.pi, len(labels)) if cue == "amplitude" else rng.normal(0, 0.4, len(labels))
    strength = rng.uniform(weakest, 1.2, len(labels))
    cues = strength[:, None, None] * np.cos(turns[labels] + (own[labels] + jitter)[:, None, None])
    images = (cues[..., None] + rng.normal(0, 0.6, (len(labels), *plane, channels))).astype(np.float32)
    bias = 0.01 * np.arange(classes)  # where an orbit is set to 0 nothing is left to rounding
    bias[0] += default

    def logits(images, tables, library):
        """[n, K]: the mean over channels of |X|, or of the cosine of X's angle to the class's."""
        real, imaginary = (library.einsum("nhwc,khw->nck", images, table) for table in tables)
        length = library.sqrt(real**2 + imaginary**2)
        if cue == "amplitude":
            return (length / turns[0].size * 2).mean(1) + library.asarray(bias)
        return ((real * np.cos(own) + imaginary * np.sin(own)) / (length + 0.1)).mean(1) + library.asarray(bias)

    tables = (np.cos(turns), -np.sin(turns))
    params = tuple(jnp.asarray(table, jnp.float32) for table in tables)
    model = Model(lambda params, images: logits(images, params, jnp), params, (*plane, channels))
    return Problem(images, labels, model, lambda images: logits(images.astype(float), tables, np), waves)


def candidates(made):
    """Maps at three shares, two of which are tested. Class 1 has DC; the maps of class 2 are not constant on orbits."""
    rng, orbits = np.random.default_rng(1), spectrum.orbits(*made.plane)
    centre = made.plane[0] // 2, made.plane[1] // 2
    of_class = []
    for label in range(made.classes):
        scores = rng.random(orbits.max() + 1)[orbits]
        u, v = made.waves[label]
        scores[orbits == orbits[centre[0] + u, centre[1] + v]] = 3
        scores[centre] = 2 if label == 1 else 0
        of_class.append(np.stack([masks.within_share(scores, share) for share in SHARES]))
        if label == 2:
            of_class[-1] &= rng.random(made.plane) < 0.7
    names = tuple(f"class {label}" for label in range(made.classes))
    return Candidates(names, SHARES, 2, lambda label: of_class[label])


def said(made, recipients, contents, mask, label, left_out):
    """[n]: whether each graft is called the class, where `left_out`, if it is another of several, cannot be.

    A graft is Re F^-1[(1 - M) F r + M A], of the grafted spectra A, `contents`.
    """
    logits = made.logits(real(np.where(mask[..., None], contents, spectra(recipients))))
    if made.classes > 2:
        logits[np.arange(len(logits)), left_out] = np.where(left_out == label, logits[:, label], -np.inf)
    return logits.argmax(1) == label
