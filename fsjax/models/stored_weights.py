"""A run whose model.weights is a model file: what the config has to say of it, and what the file says itself."""

import copy

import numpy as np
from ml_collections import ConfigDict

from fsjax.models import model_file
from fsjax.models.model_file import StoredModel
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError

# How far a config's mean and std may be from those of the file.
_APART = 1e-4


def is_stored(config: ConfigDict) -> bool:
    """Return whether config.model.weights names a model file."""
    return storage.path(config.model.weights).suffix == model_file.SUFFIX if config.model.weights else False


def named(config: ConfigDict) -> ConfigDict:
    """Return the config with the model file's name for the model's, for the report and the log."""
    if is_stored(config):
        config = copy.deepcopy(config)
        config.model.name = storage.path(config.model.weights).stem
    return config


def read(config: ConfigDict) -> StoredModel:
    """Read the model file of a run, with its arrays.

    Raises:
      InputError: it cannot be read, or the config asks for other images, another normalisation or precision.
    """
    stored, weights = model_file.load_model(config.model.weights), config.model.weights
    size = config.data.image_size
    if stored.image_shape[2] != 3:
        raise InputError(f"model.weights: {weights} is for images of {stored.image_shape[2]} channels; expected 3")
    if stored.image_shape[:2] != (size, size):
        expected = " x ".join(map(str, stored.image_shape[:2]))
        raise InputError(f"data.image_size: got {size}; expected {expected} pixels, which {weights} was saved for")
    if config.data.frequencies:
        raise InputError(f"data.frequencies: got {config.data.frequencies!r}; expected '' with a model file")
    if config.search.precision != "highest":
        raise InputError(
            f"search.precision: got {config.search.precision!r}; expected highest, since {weights} has its own, "
            f"{stored.precision}, which save_model fixed"
        )
    mean_std(config, stored)
    return stored


def mean_std(config: ConfigDict, stored: StoredModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and std that images are normalised with: the file's, or the config's where it has none.

    Raises:
      InputError: the two differ, or there is none.
    """
    of_config = np.asarray(config.data.mean, float), np.asarray(config.data.std, float)
    if stored.mean_std is None:
        if not config.data.mean:
            raise InputError(
                f"data.mean: got nothing; expected the mean and std that the model was trained with, which "
                f"{config.model.weights} does not tell"
            )
        return of_config
    for field, given, of_file in zip(("mean", "std"), of_config, stored.mean_std, strict=True):
        if len(given) and not (given.shape == of_file.shape and np.allclose(given, of_file, rtol=0, atol=_APART)):
            raise InputError(
                f"data.{field}: got {tuple(given.tolist())}; expected {tuple(of_file.tolist())}, which "
                f"{config.model.weights} was saved with, or ()"
            )
    return stored.mean_std
