"""config.search, and what partial results depend on, for searches that are called from Python."""

import hashlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.data.in_memory import ArrayDataset
from fsjax.runtime.errors import InputError


def options_of(method: str, fields: dict[str, Any], **shared: Any) -> ConfigDict:
    """Return config.search for a method, with shared fields set and the method's own by their names.

    Raises:
      InputError: a field that the method lacks, or a value of another type.
    """
    options = search.options()
    options.method = method
    for name, value in shared.items():
        _set(options, name, value)
    own = options.get(method, ConfigDict())
    for name, value in fields.items():
        if not isinstance(own, ConfigDict) or name not in own:
            accepted = ", ".join(sorted(own)) if isinstance(own, ConfigDict) and own else "none"
            raise InputError(f"{name}: got a field that the method {method!r} lacks; expected {accepted}")
        _set(own, name, value)
    return options


def _set(options: ConfigDict, name: str, value: Any) -> None:
    try:
        options[name] = value
    except TypeError as error:
        raise InputError(f"{name}: got {value!r}; expected a {type(options[name]).__name__}") from error


def identity(options: ConfigDict, seed: int, dataset: Dataset) -> str:
    """Return a digest of what partial results of a search depend on, beside the parameters of the model."""
    own = options.get(options.method)
    shape = (len(dataset), *dataset.images([0]).shape[1:])
    settings = (options.method, options.patch, options.precision, seed, own and own.to_dict(), shape)
    return hashlib.sha256(repr(settings).encode() + digest_of(dataset)).hexdigest()


def digest_of(dataset: Dataset) -> bytes:
    """Return a digest of the labels, and of the images, or the names of their files."""
    digest = hashlib.sha256()
    if isinstance(dataset, ArrayDataset):
        digest.update(np.ascontiguousarray(dataset.images(np.arange(len(dataset)))).tobytes())
    digest.update("\n".join(dataset.names).encode(errors="surrogateescape"))
    digest.update(dataset.labels.astype(np.int64).tobytes())
    return digest.digest()
