"""Searches as library calls, on any JAX callable or on PyTorch's weights."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from fsjax import search
from fsjax.engine.closure_conversion import convert_closure
from fsjax.engine.model import Model
from fsjax.fourier import dfm
from fsjax.models import state_dict
from fsjax.models.folding import fold
from fsjax.runtime import storage, torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def dominant_frequencies(
    logits_fn: Callable,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    method: str = "removal",
    patch: int = 1,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    resamples: int = -1,
    classes: Sequence[str] | None = None,
    precision: str = "highest",
    seed: int = 0,
    directory: str | Path | None = None,
    memory_mib: int = 0,
    save_seconds: int | float = 30,
    searched_on: str = "train",
    **fields: Any,
) -> dfm.DominantFrequencyMaps:
    """The dominant frequency maps of a classifier, by any of the search methods.

    In several processes every one calls this with the same arguments, takes its share of the work and returns the same
    maps.

    Args:
      logits_fn: images [n, H, W, C] float32, for any n -> logits [n, K], K >= num_classes; whatever JAX can trace. The
        arrays it closes over become arguments of the compiled program, so another set of weights compiles nothing anew.
      images: [n, H, W, C] as logits_fn takes them: normalised, where it wants that. Any height, width and channels.
      labels: [n], class index of each image, in [0, num_classes); every class has an image.
      num_classes: how many classes are searched.
      method: a name of fsjax.search.SEARCHES. removal_compat takes the images in class order, whatever theirs is.
      patch: side of the square of frequencies removed together; divides height and width.
      shares: of the plane that the maps keep, in (0, 1].
      resamples: bootstrap resamples of the images, whose maps the provenance compares with these under "stability".
        -1 = 20 for removal, which gets them for nothing, and none for the others, which search once more for each.
      classes: names in index order; default '0', '1', ...
      precision: 'highest' (float32) or 'tensorfloat32', whose agreement with 'highest' stands in the maps' provenance.
      seed: of whatever the method draws at random.
      directory: keeps partial results there and goes on from them; tied to the images, the labels and the weights.
      memory_mib: of a device, for the images, the weights and a tile; 0 = chosen.
      save_seconds: between two partial results.
      searched_on: 'train' or 'test', as the maps will say.
      **fields: the method's own, such as steps=100; what stands in config.search under its name.

    Raises:
      InputError: a ValueError that names what cannot be used.
    """
    images, labels = np.asarray(images, np.float32), np.asarray(labels)
    if precision == "bfloat16":
        raise InputError("precision: 'bfloat16' is the callable's own matter; expected highest, tensorfloat32")
    if memory_mib < 0:
        raise InputError(f"memory_mib: got {memory_mib}; expected 0 or more")
    counts = _counts(images, labels, num_classes)
    names = tuple(classes) if classes is not None else tuple(str(label) for label in range(num_classes))
    if len(names) != num_classes:
        raise InputError(f"classes: {len(names)} names; expected {num_classes}, one a class")
    options = search.options()
    options.update(method=method, patch=patch, split=searched_on, precision=precision, images_per_class=0)
    options.shares, options.resamples = tuple(shares), resamples
    _set(options, method, fields)
    search.check(options, images.shape[1:3])
    apply, params = convert_closure(logits_fn, images.shape[1:])
    found = jax.eval_shape(apply, params, jax.ShapeDtypeStruct(images.shape, jnp.float32)).shape
    if len(found) != 2 or found[0] != len(images) or found[1] < num_classes:
        raise InputError(
            f"logits_fn: gives shape {found} for {len(images)} images; "
            f"expected [{len(images)}, K], K at least {num_classes}"
        )
    return search.run(
        search.Problem(
            model=Model(apply, params, images.shape[1:]),
            images=lambda label: images[labels == label],
            counts=counts,
            classes=names,
            options=options,
            run=ConfigDict({"memory_mib": memory_mib, "save_seconds": float(save_seconds)}),
            searched_on=searched_on,
            seed=seed,
            provenance={},
            directory=storage.path(directory) if directory is not None else None,
            identity=_digest(options, seed, images, labels),
        )
    )


def load_weights(path: str | Path, model: str, *, image_size: int | None = None) -> Callable:
    """A model of ours with PyTorch's weights, as a callable: images [n, S, S, 3] float32, normalised -> logits [n, K].

    The logits are those of the PyTorch module in evaluation mode. Names of torchvision, timm and the ICCV 2023 code are
    recognised; every tensor is used once. Nothing in the file ever runs.

    Args:
      path: .pt, .pth, .ckpt (also of Lightning) or .safetensors.
      model: a name of fsjax.models.MODELS.
      image_size: S; None = that of a vision transformer's positions, which are interpolated to any other.

    Raises:
      InputError: a ValueError that lists what is missing, not expected, or of another shape.
    """
    found = state_dict.to_variables(torch_files.read(path), model, image_size, str(path))
    apply, params = fold(found.network, found.variables)
    return functools.partial(apply, params)


def _counts(images: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[int, ...]:
    if images.ndim != 4 or not len(images):
        raise InputError(f"images: shape {images.shape}; expected [images, height, width, channels], one or more")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: {labels.dtype} of shape {labels.shape}; expected {len(images)} whole numbers")
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise InputError(f"labels: {outside[0]} is no class; expected 0 to {num_classes - 1}")
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise InputError(f"labels: class {int(np.argmin(counts))} has no image; expected one or more of each class")
    return tuple(counts.tolist())


def _set(options: ConfigDict, method: str, fields: dict[str, Any]) -> None:
    """Puts a method's own fields in their place."""
    own = options.get(method, ConfigDict())
    for name, value in fields.items():
        if not isinstance(own, ConfigDict) or name not in own:
            accepted = ", ".join(sorted(own)) if isinstance(own, ConfigDict) and own else "none"
            raise InputError(f"{name}: no field of the method {method!r}; expected {accepted}")
        try:
            own[name] = value
        except TypeError as error:
            raise InputError(f"{name}: got {value!r}; expected a {type(own[name]).__name__}") from error


def _digest(options: ConfigDict, seed: int, images: np.ndarray, labels: np.ndarray) -> str:
    own = options.get(options.method)
    about = (options.method, options.patch, options.precision, seed, own and own.to_dict(), images.shape)
    digest = hashlib.sha256(repr(about).encode())
    for array in (images, labels.astype(np.int64)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
