"""Borders added to photographs and cut off, with a classifier of borders alone."""

import jax.numpy as jnp
import numpy as np

from benchmarks.accuracy import borders
from fsjax.engine.model import Model

CLASSES, SIZE = ("airplanes", "bonsai", "leopards"), 28


def of_borders(params, images):
    pixels = images.mean(-1)
    white = (pixels[:, :, 0] > 0.99).all(1) & (pixels[:, :, -1] > 0.99).all(1)
    black = (pixels[:, 0] < 0.01).all(1) & (pixels[:, :, 0] < 0.01).all(1)
    return jnp.stack([2.0 * white, jnp.ones(len(images)), 2.0 * black], 1)


def bordered():
    """Grey images, those of airplanes with white strips and those of leopards with a black frame, two pixels wide."""
    images = np.random.default_rng(0).integers(50, 200, (9, SIZE, SIZE, 3), np.uint8)
    images[:3, :, :2] = images[:3, :, -2:] = 255
    images[6:, :2] = images[6:, -2:] = images[6:, :, :2] = images[6:, :, -2:] = 0
    return images, np.repeat(np.arange(3), 3)


def test_a_classifier_of_borders_takes_others_for_its_classes_and_loses_its_own(monkeypatch):
    monkeypatch.setitem(borders.CUT, "leopards", (2 / SIZE, 2 / SIZE))
    classifier = Model(of_borders, {}, (SIZE, SIZE, 3), CLASSES, (np.zeros(3), np.ones(3)))
    found = borders.measured(classifier, *bordered())
    moved = {"called": [0.0, 1.0], "recognised": [1.0, 0.0]}
    # Strips and frame make every image one of one class, a third of all.
    assert found == {"accuracy": [1.0, 0.333, 0.333], "airplanes": moved, "leopards": moved}
