"""A page about a model that hears one wave: planted truth for the live page."""

import jax.numpy as jnp
import numpy as np

from fsjax.data.dataset import ArrayDataset
from fsjax.engine.model import Model
from fsjax.explore.subject import Subject
from tests.helpers import results

SIZE, CLASSES = 16, ("quiet", "wave", "bright")
# The place of the wave on the centred plane, and what the lines of `python` begin with.
ROW, COLUMN, LINES = 5, 12, "# the result is there"


def wave() -> np.ndarray:
    """A cosine of the planted frequency."""
    rows, columns = np.indices((SIZE, SIZE))
    turns = (ROW - SIZE // 2) * rows + (COLUMN - SIZE // 2) * columns
    return np.cos(2 * np.pi * turns / SIZE).astype(np.float32)[..., None]


def made() -> Subject:
    """Noise, noise with the wave, and noise that is brighter; 20 grey-level images of each class."""
    template = jnp.asarray(wave())

    def logits(params: dict, images):
        heard = (images * params["template"]).mean((1, 2, 3))
        return jnp.stack([0 * heard + 1, 30 * heard, 8 * images.mean((1, 2, 3))], 1)

    rng, labels = np.random.default_rng(0), np.repeat(np.arange(3), 20)
    images = 128 + 12 * rng.normal(size=(60, SIZE, SIZE, 3))
    images += 24 * (labels == 1)[:, None, None, None] * wave() + 40 * (labels == 2)[:, None, None, None]
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    model = Model(logits, {"template": template}, (SIZE, SIZE, 3), CLASSES, (np.full(3, 0.5), np.full(3, 0.25)))
    scores = rng.random((3, SIZE, SIZE)).astype(np.float32) / 10
    scores[1, ROW, COLUMN] = 1
    scores = (scores + np.roll(scores[:, ::-1, ::-1], 1, (1, 2))) / 2
    maps = results.maps(scores, (0.01, 0.05), CLASSES)
    return Subject(model, ArrayDataset(pixels, labels, CLASSES), maps, "a wave", LINES)
