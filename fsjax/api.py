"""Library calls: searches on any JAX callable, and PyTorch's weights as one."""

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
    """Find the dominant frequency maps of a classifier with one of the search methods.

    Collective: in several processes every one calls this with the same arguments, takes its share of the work and
    returns the same maps.

    Args:
      logits_fn: images [n, H, W, C] float32, for any n -> logits [n, K], K >= num_classes; JAX can trace it. The
        arrays it closes over become arguments of the compiled program, so other weights do not trigger recompilation.
      images: [n, H, W, C] as logits_fn takes them: normalised, where it wants that. Any height, width and channels.
      labels: [n], class index of each image, in [0, num_classes); every class has an image.
      num_classes: how many classes are searched.
      method: a name of fsjax.search.SEARCHES. removal_compat sorts the images by class.
      patch: side of the square of frequencies removed together; divides height and width.
      shares: of the plane that the maps keep, in (0, 1].
      resamples: bootstrap resamples of the images; the provenance compares their maps with these under "stability".
        -1 = 20 for removal, at no extra cost, and none for the others, which search once more for each.
      classes: names in index order; default '0', '1', ...
      precision: 'highest' (float32) or 'tensorfloat32', whose agreement with 'highest' stands in the maps' provenance.
      seed: of the method's random draws.
      directory: of partial results, from which a restart resumes; tied to the images, the labels and the weights.
      memory_mib: of a device, for the images, the weights and a tile; 0 = chosen.
      save_seconds: between two partial results.
      searched_on: 'train' or 'test', recorded in the maps.
      **fields: the method's own, such as steps=100: those of config.search under its name.

    Raises:
      InputError: a ValueError that names what cannot be used.
    """
    images, labels = np.asarray(images, np.float32), np.asarray(labels)
    if precision == "bfloat16":
        raise InputError("precision: got 'bfloat16', which is up to the callable; expected highest, tensorfloat32")
    if memory_mib < 0:
        raise InputError(f"memory_mib: got {memory_mib}; expected 0 or more")
    counts = _counts(images, labels, num_classes)
    names = tuple(classes) if classes is not None else tuple(str(label) for label in range(num_classes))
    if len(names) != num_classes:
        raise InputError(f"classes: got {len(names)} names; expected {num_classes}, one a class")
    options = search.options()
    options.update(method=method, patch=patch, split=searched_on, precision=precision, images_per_class=0)
    options.shares, options.resamples = tuple(shares), resamples
    _set_method_fields(options, method, fields)
    search.check(options, images.shape[1:3])
    return search.run(
        search.Problem(
            model=_as_model(logits_fn, images, num_classes),
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
    """Load PyTorch's weights into a model of ours: images [n, S, S, 3] float32, normalised -> logits [n, K].

    The logits are those of the PyTorch module in evaluation mode. Names of torchvision, timm and the ICCV 2023 code are
    recognised; every tensor is used once. No code in the file is run.

    Args:
      path: .pt, .pth, .ckpt (also of Lightning) or .safetensors.
      model: a name of fsjax.models.MODELS.
      image_size: S; None = that of a vision transformer's positions, which are interpolated to any other.

    Raises:
      InputError: a ValueError that lists what is missing, not expected, or of another shape.
    """
    imported = state_dict.to_variables(torch_files.read(path), model, image_size, str(path))
    apply, params = fold(imported.network, imported.variables)
    return functools.partial(apply, params)


def _counts(images: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """Return how many images each class has; raise InputError for images or labels that cannot be used."""
    if images.ndim != 4 or not len(images):
        raise InputError(f"images: got shape {images.shape}; expected [images, height, width, channels], one or more")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: got {labels.dtype} of shape {labels.shape}; expected {len(images)} whole numbers")
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise InputError(f"labels: got {outside[0]}; expected 0 to {num_classes - 1}")
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise InputError(f"labels: got no image of class {int(np.argmin(counts))}; expected one or more of each class")
    return tuple(counts.tolist())


def _as_model(logits_fn: Callable, images: np.ndarray, num_classes: int) -> Model:
    apply, params = convert_closure(logits_fn, images.shape[1:])
    shape = jax.eval_shape(apply, params, jax.ShapeDtypeStruct(images.shape, jnp.float32)).shape
    if len(shape) != 2 or shape[0] != len(images) or shape[1] < num_classes:
        raise InputError(
            f"logits_fn: got shape {shape} for {len(images)} images; expected [{len(images)}, K], K >= {num_classes}"
        )
    return Model(apply, params, images.shape[1:])


def _set_method_fields(options: ConfigDict, method: str, fields: dict[str, Any]) -> None:
    own = options.get(method, ConfigDict())
    for name, value in fields.items():
        if not isinstance(own, ConfigDict) or name not in own:
            accepted = ", ".join(sorted(own)) if isinstance(own, ConfigDict) and own else "none"
            raise InputError(f"{name}: got a field that the method {method!r} lacks; expected {accepted}")
        try:
            own[name] = value
        except TypeError as error:
            raise InputError(f"{name}: got {value!r}; expected a {type(own[name]).__name__}") from error


def _digest(options: ConfigDict, seed: int, images: np.ndarray, labels: np.ndarray) -> str:
    own = options.get(options.method)
    settings = (options.method, options.patch, options.precision, seed, own and own.to_dict(), images.shape)
    digest = hashlib.sha256(repr(settings).encode())
    for array in (images, labels.astype(np.int64)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
