"""A linear classifier of random images, maps of its frequencies, and its predictions in float64."""

import numpy as np
from ml_collections import ConfigDict

from fsjax.engine.model import Model
from fsjax.fourier import dfm, spectrum
from tests.helpers import results
from tests.helpers.plane import filtered

CONFIG = ConfigDict(
    {
        "seed": 0,
        "run": {"memory_mib": 1},
        "report": {"share": 0.2, "first_look": ""},
        "search": {"images_per_class": 3, "precision": "highest", "transform": "auto"},
        "evaluate": {"threshold": 0.6, "grid": ()}
        | dict.fromkeys(("pairs", "images_per_class", "grid_images", "trigger_size"), 0),
    }
)
MEAN_STD = (np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3]))


class Made:
    """A source of random images."""

    def __init__(self, counts, size=8, seed=0, planted=None):
        rng = np.random.default_rng(seed)
        self.classes = tuple(f"class {label}" for label in range(len(counts)))
        self.labels = rng.permutation(np.repeat(np.arange(len(counts), dtype=np.int32), counts)).astype(np.int32)
        self.images = rng.integers(0, 256, (sum(counts), size, size, 3)).astype(np.uint8)
        self.planted = planted

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def make_classifier(classes, size=8, seed=1):
    rng = np.random.default_rng(seed)
    params = rng.normal(size=(size * size * 3, classes)).astype(np.float32)
    names = tuple(f"class {label}" for label in range(classes))
    shape = (size, size, 3)
    return Model(linear, params, shape, names, MEAN_STD)


def predictions(classifier, images, mask):
    """The predicted class of each image filtered by a mask, in float64."""
    pixels = (images.astype(float) / 255 - MEAN_STD[0]) / MEAN_STD[1]
    return (filtered(pixels, mask).reshape(len(images), -1) @ classifier.params.astype(float)).argmax(1)


def make_maps(classes, size=8, shares=(0.2, 0.5)):
    orbits = spectrum.orbits(size, size)
    scores = np.random.default_rng(2).normal(size=(classes, orbits.max() + 1))[:, orbits]
    return results.maps(scores, shares, tuple(f"class {label}" for label in range(classes)))


def save_maps(path, shares=(0.05, 0.2), size=16, classes=("C0", "C1", "C2", "C3"), seed=0):
    """Write maps that are not constant on orbits, and return them."""
    rng = np.random.default_rng(seed)
    masks = np.stack([rng.random((len(classes), size, size)) < share for share in shares])
    about = (classes, "removal", "train", np.ones(len(classes), int), 0, {})
    maps = dfm.DominantFrequencyMaps(masks, tuple(shares), None, *about)
    maps.save(path)
    return maps
