"""A run whose model is a model file: model.weights itself, or what a model of torchvision or timm is converted to."""

import copy
import functools

import numpy as np
from ml_collections import ConfigDict

from fsjax.models import model_file, weights_metadata
from fsjax.models.model_file import StoredModel
from fsjax.models.pytorch import named_module
from fsjax.runtime import files, storage, torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# How far a config's mean and std may be from those of the file.
_APART = 1e-4
# What a model of torchvision or timm becomes, in the workdir.
_CONVERTED = f"model{model_file.SUFFIX}"


def is_stored(config: ConfigDict) -> bool:
    """Return whether the model of a run is a model file."""
    return _is_given(config) or named_module.is_one(config.model.name)


def check(config: ConfigDict) -> None:
    """Raise InputError for a model file, or a name of torchvision or timm, that the config does not fit."""
    if _is_given(config):
        read(config)
        return
    named_module.check(config.model.name)
    if not config.model.weights:
        raise InputError(
            f"model.weights: got ''; expected a file of PyTorch weights of {config.model.name}, which no run trains"
        )
    _check_fields(config, "highest")


def _is_given(config: ConfigDict) -> bool:
    return storage.path(config.model.weights).suffix == model_file.SUFFIX if config.model.weights else False


def named(config: ConfigDict) -> ConfigDict:
    """Return the config with the model file's name for the model's, for the report and the log."""
    if _is_given(config):
        config = copy.deepcopy(config)
        config.model.name = storage.path(config.model.weights).stem
    return config


def is_converted(config: ConfigDict) -> bool:
    """Return whether the model file of a run is made by its stage train."""
    return is_stored(config) and not _is_given(config)


def convert(config: ConfigDict, directory: Path) -> None:
    """Write a workdir's model.fsjax: torchvision's or timm's module of config.model.name with the weights of a file.

    Raises:
      InputError: weights of another model, or a module that `from_torch` cannot follow.
    """
    path = weights_metadata.weights_path(config)
    if not path.is_file():
        raise InputError(f"model.weights: no file {path}; expected PyTorch weights of {config.model.name}")
    metadata = weights_metadata.beside(path)
    if metadata and config.model.name not in (f"timm/{metadata.architecture.partition('.')[0]}", metadata.architecture):
        raise InputError(
            f"model.name: got {config.model.name}; expected timm/{metadata.architecture}, as {metadata.file} says"
        )
    mean_std, arguments, size = weights_metadata.mean_std(config, metadata), {}, config.data.image_size
    if metadata:
        weights_metadata.check_arguments(metadata)
        arguments = {name: value for name, value in metadata.arguments.items() if name in weights_metadata.FOLLOWED}
        side = arguments.get("img_size", size)
        if side not in (size, [size, size]):
            raise InputError(f"data.image_size: got {size}; expected {side}, as {metadata.file} says")
    with storage.local(path) as file:
        module = named_module.build(config.model.name, torch_files.read(file), str(path), arguments)
    pool = getattr(module, "global_pool", None)
    if metadata and isinstance(pool, str) and metadata.pool not in ("", pool):
        raise InputError(
            f"model.name: got {config.model.name} of global_pool {pool!r}; expected {metadata.pool!a}, as "
            f"{metadata.file} says"
        )
    model_file.save_model(directory / _CONVERTED, module, image_size=size, mean_std=mean_std)


def read(config: ConfigDict, directory: Path | None = None) -> StoredModel:
    """Read the model file of a run, with its arrays; `directory` is the workdir, where the file may be.

    Raises:
      InputError: it cannot be read, or the config asks for other images, another normalisation or precision.
    """
    weights = storage.path(config.model.weights)
    if is_converted(config):
        assert directory is not None, "a converted model is in the workdir"
        weights = directory / _CONVERTED
    stored = _load(weights, files.sha256(weights)) if weights.is_file() else model_file.load_model(weights)
    size = config.data.image_size
    if stored.image_shape[2] != 3:
        raise InputError(f"model.weights: {weights} is for images of {stored.image_shape[2]} channels; expected 3")
    if stored.image_shape[:2] != (size, size):
        expected = " x ".join(map(str, stored.image_shape[:2]))
        raise InputError(f"data.image_size: got {size}; expected {expected} pixels, which {weights} was saved for")
    _check_fields(config, stored.precision)
    mean_std(config, stored)
    return stored


@functools.lru_cache(maxsize=1)
def _load(weights: Path, sha256: str) -> StoredModel:
    """Read a model file once for all of a run: its check, the estimate of time, and the stages."""
    del sha256
    return model_file.load_model(weights)


def _check_fields(config: ConfigDict, precision: str) -> None:
    if config.data.frequencies:
        raise InputError(f"data.frequencies: got {config.data.frequencies!r}; expected '' with a model file")
    if config.search.precision != "highest":
        raise InputError(
            f"search.precision: got {config.search.precision!r}; expected highest, since the model file has its own, "
            f"{precision}, which is fixed in it"
        )


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
