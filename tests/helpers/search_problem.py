"""Searches of random images by a small network, and the same network on filtered images in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.engine.model import Model
from fsjax.fourier import transforms
from fsjax.runtime import interrupt
from fsjax.search.sweep import Throughput

COUNTS = (5, 3, 4)


def make_problem(
    directory=None,
    method="removal",
    *,
    plane=(8, 8),
    channels=3,
    counts=COUNTS,
    images=None,
    apply=None,
    seed=0,
    draws=None,
    save_seconds=0.0,
    **fields,
):
    """A search of up to three classes; `draws` is the seed of the method, `fields` set config.search by their names."""
    rng = np.random.default_rng(seed)
    pixels = plane[0] * plane[1] * channels if images is None else images[0][0].size
    hidden, out = rng.normal(size=(pixels, 8)) / 8, rng.normal(size=(8, 3))
    params = {"hidden": hidden.astype(np.float32), "out": out.astype(np.float32)}
    if images is None:
        images = [rng.normal(size=(count, *plane, channels)).astype(np.float32) for count in counts]
    options = search.options(method, **{"shares": (0.05, 0.2)} | fields)
    search.check(options, images[0].shape[1:3])
    own = {"seed": seed if draws is None else draws, "directory": directory and directory / "search"}
    own |= {"run": ConfigDict({"memory_mib": 0, "save_seconds": save_seconds}), "options": options}
    return made(Model(apply or network, params, images[0].shape[1:]), images, **own)


def made(model, images, **fields):
    """The problem of a model and the images of each class."""
    own = {"searched_on": "train", "provenance": {}, "counts": tuple(map(len, images))}
    return search.Problem(model=model, images=images.__getitem__, classes=tuple("abc")[: len(images)], **own | fields)


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def logits(params, images):
    """Logits of images [..., H, W, C] in float64."""
    flat = images.reshape(*images.shape[:-3], -1)
    return np.tanh(flat @ params["hidden"].astype(float)) @ params["out"].astype(float)


def losses(params, images, label):
    """Cross-entropy of each image to a class."""
    outputs = logits(params, images)
    return np.log(np.exp(outputs).sum(-1)) - outputs[..., label]


def filtering_by(monkeypatch, transform):
    """Fields of a problem that filters by this transform, and fails where it would filter by the other one."""
    (other,) = transforms.INVERSES.keys() - {transform}
    monkeypatch.setitem(transforms.INVERSES, other, None)
    # A function of its own: programs of another one stay as they were compiled.
    return {"transform": transform, "apply": lambda *given: network(*given)}


class Stopped(Exception):
    """Ends a search at its safe point, as SIGTERM does."""


def stop_after(monkeypatch, counts):
    """Stop a search at its next safe point after so many counts of its work; return the list of all counts."""
    seen, count = [], Throughput.count

    def counted(self, *arguments):
        seen.append(arguments)
        count(self, *arguments)

    def check():
        if len(seen) >= counts:
            raise Stopped

    monkeypatch.setattr(Throughput, "count", counted)
    monkeypatch.setattr(interrupt, "check", check)
    return seen


def on_devices(monkeypatch, count):
    devices = jax.local_devices()[:count]
    monkeypatch.setattr("fsjax.runtime.parallel.local_devices", lambda: devices)
