"""Trainings on some of a config's training images, or on some of them several times."""

import pathlib

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.runtime.storage import Path

_BATCH = 1000


def load(config: ConfigDict) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images and labels of a config whose data.source is arrays."""
    root = pathlib.Path(config.data.root)
    return np.load(root / "train_images.npy"), np.load(root / "train_labels.npy")


def select(config: ConfigDict, indices: Int[np.ndarray, " n"], root: Path) -> None:
    """Let a config train on these of its training images, each as often as it is named, and hold none out.

    root: where they are copied.
    """
    root.mkdir(parents=True, exist_ok=True)
    for array, name in zip(load(config), ("images", "labels"), strict=True):
        np.save(pathlib.Path(str(root)) / f"train_{name}.npy", array[indices])
        test = np.load(pathlib.Path(config.data.root) / f"test_{name}.npy")
        np.save(pathlib.Path(str(root)) / f"test_{name}.npy", test)
    config.data.root, config.data.validation_share = str(root), 0.0


def logits(classifier: Model, images: np.ndarray) -> Float[np.ndarray, "n outputs"]:
    """Return the logits of images in [0, 255]."""
    parts = (images[start : start + _BATCH].astype(np.float32) for start in range(0, len(images), _BATCH))
    return np.concatenate([np.asarray(classifier(normalise(part, *classifier.mean_std))) for part in parts])
