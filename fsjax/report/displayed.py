"""Normalised images as pixels, for the pictures of a page."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PyTree

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.engine.model import Model
from fsjax.runtime.errors import InputError


def displayed(classifier: Model, test: Dataset) -> tuple[Model, Dataset]:
    """Return a classifier and test images with grey levels in [0, 255] and three channels, which give the same logits.

    Images that come normalised are scaled so that their lowest value is black and their highest white. One channel
    is shown as grey.

    Raises:
      InputError: images of another number of channels.
    """
    channels = classifier.image_shape[2]
    if channels not in (1, 3):
        raise InputError(f"report: got images of {channels} channels; expected 1 or 3, which a page can show")
    mean, std = classifier.mean_std
    if len(mean) and channels == 3:
        return dataclasses.replace(classifier, mean_std=(np.broadcast_to(mean, 3), np.broadcast_to(std, 3))), test
    levels = np.asarray(test.images(np.arange(len(test))), np.float32)
    if not len(mean):
        low, high = float(levels.min()), float(levels.max())
        span = max(high - low, 1e-6)
        levels, mean, std = (levels - low) * np.float32(255 / span), np.array([-low / span]), np.array([1 / span])
    shape = (*classifier.image_shape[:2], 3)
    images = np.repeat(levels, 3, -1) if channels == 1 else levels
    mean_std = (np.broadcast_to(mean, 3).astype(float), np.broadcast_to(std, 3).astype(float))
    model = Model(_of_channels(classifier.apply, channels), classifier.params, shape, classifier.classes, mean_std)
    return model, ArrayDataset(images, test.labels, test.classes)


def _of_channels(apply: Callable, channels: int) -> Callable:
    def of_channels(params: PyTree, images: Float[Array, "n height width 3"]) -> Any:
        return apply(params, images[..., :channels])

    return of_channels
