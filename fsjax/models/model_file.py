"""A file that holds a model, `.fsjax`: its program, its arrays, and what its inputs and outputs mean."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

import fsjax
from fsjax.data.normalisation import parse_mean_std
from fsjax.models import stored_program
from fsjax.models.callables import as_model
from fsjax.runtime import files, npz, storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

SUFFIX = ".fsjax"
VERSION = 1
_PRECISIONS = ("highest", "tensorfloat32")
_TRIED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class StoredModel:
    """A model of a file: images [n, H, W, C] float32, normalised -> logits [n, K].

    Attributes:
      apply: (arrays, images) -> logits.
      arrays: its parameters.
      program: StableHLO, as jax.export.deserialize takes it.
      image_shape: (H, W, C).
      outputs: K.
      classes: names of the first outputs, in their order; () = not told.
      mean_std: of pixels in [0, 1], per channel, that images are normalised with; None = not told.
      precision: of matrix products and convolutions, which nothing changes any more.

    Examples:
      >>> fsjax.save_model("wave.fsjax", model, image_size=8, channels=1, classes=names)
      >>> stored = fsjax.load_model("wave.fsjax")  # a StoredModel
      >>> stored.image_shape, stored.outputs, stored.classes, stored.precision
      ((8, 8, 1), 3, ('plain', 'wave', 'bright'), 'highest')
    """

    apply: Callable
    arrays: list[Shaped[np.ndarray, "..."]]
    program: bytes
    image_shape: tuple[int, int, int]
    outputs: int
    classes: tuple[str, ...]
    mean_std: tuple[np.ndarray, np.ndarray] | None
    precision: str

    def __call__(self, images: Float[ArrayLike, "n height width channels"]) -> Float[Array, "n logits"]:
        """Return the logits of images."""
        return self.apply(self.arrays, jnp.asarray(images))


def save_model(
    path: str | Path,
    model: Any,
    *,
    image_size: int,
    channels: int = 3,
    classes: Sequence[str] = (),
    mean_std: Any = None,
    precision: str = "highest",
) -> None:
    """Write any model that `analyse` takes to one file, which `load_model` and `model.weights` read.

    The file holds the model as StableHLO (jax.export) for any number of images, with its gradient, for CPU, CUDA, ROCm
    and TPU; its arrays beside the program; and what the inputs and outputs mean. Reading it needs none of the code that
    made the model, nor PyTorch. JAX reads such programs for at least six months after it wrote them.

    Args:
      path: of the file, which ends with .fsjax.
      model: as of `analyse`, in evaluation mode: a JAX callable, Flax, Equinox, Keras, or a PyTorch module.
      image_size: height and width in pixels.
      channels: of an image; a run's images have 3.
      classes: names of the first outputs, in their order. A run then finds the outputs of the data's classes by their
        names.
      mean_std: of pixels in [0, 1], per channel, that the model's images are normalised with.
      precision: of matrix products and convolutions, 'highest' (float32) or 'tensorfloat32'; fixed in the file.

    Raises:
      InputError: a ValueError that says why it is no model, or cannot be written.

    Examples:
      >>> fsjax.save_model("wave.fsjax", model, image_size=8, channels=1, classes=names)
    """
    where = storage.path(path)
    if where.suffix != SUFFIX:
        raise InputError(f"path: got {where.name!r}; expected a name that ends with {SUFFIX}")
    if precision not in _PRECISIONS:
        raise InputError(f"precision: got {precision!r}; expected {', '.join(_PRECISIONS)}")
    names, normalisation = tuple(classes), None if mean_std is None else parse_mean_std(mean_std)
    if normalisation is not None and len(normalisation[0]) not in (1, channels):
        raise InputError(f"mean_std: got {len(normalisation[0])} channels; expected {channels}")
    shape = (image_size, image_size, channels)
    images = np.random.default_rng(0).normal(size=(_TRIED, *shape)).astype(np.float32)
    checked = as_model(model, images, max(1, len(names)))
    if any(jnp.issubdtype(array.dtype, jax.dtypes.extended) for array in checked.params):
        raise InputError("model: got one that holds random keys; expected one that draws nothing")
    mean, std = (None, None) if normalisation is None else (np.resize(of, channels).tolist() for of in normalisation)
    about = {
        "version": VERSION,
        "image_shape": shape,
        "classes": names,
        "mean": mean,
        "std": std,
        "precision": precision,
        "fsjax": fsjax.__version__,
        "jax": jax.__version__,
    }
    program = stored_program.write(checked.apply, checked.params, shape, precision)
    arrays = {f"array{index}": _plain(np.asarray(array)) for index, array in enumerate(checked.params)}
    with files.replacing(where) as file:
        # Not compressed: weights are noise to a packer, and would take minutes.
        np.savez(file, about=np.array(json.dumps(about)), program=np.frombuffer(program, np.uint8), **arrays)  # type: ignore[arg-type]


def load_model(path: str | Path) -> StoredModel:
    """Read a model of `save_model`: a callable, as `analyse` and all others take one.

    The file is untrusted: its sizes are checked before anything is read, no Python is in it, and its program may only
    compute. How long it computes, and in how much memory, is up to it.

    Raises:
      InputError: a ValueError that names the file and says why it is no model.

    Examples:
      >>> stored = fsjax.load_model("wave.fsjax")
      >>> bool(np.allclose(stored(images), model(images), atol=1e-6))
      True
    """
    where = storage.path(path)
    if not where.is_file():
        raise InputError(f"{where}: no such file; expected a model of fsjax.save_model")
    try:
        with storage.local(where) as copy:
            content = npz.read(copy)
        return _model(content)
    except InputError:
        raise
    except Exception as error:  # untrusted input: JAX, MLIR and JSON may raise anything
        raise InputError(f"{where}: not a readable model of fsjax.save_model ({one_line(error)[:300]})") from error


def _model(content: dict[str, Shaped[np.ndarray, "..."]]) -> StoredModel:
    if missing := {"about", "program"} - content.keys():
        raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
    about = json.loads(str(content["about"]))
    if not isinstance(about, dict) or about.get("version") != VERSION:
        found = about.get("version") if isinstance(about, dict) else about
        raise ValueError(f"it is of version {found!r}; expected {VERSION}")
    shape, classes, precision = about["image_shape"], about["classes"], about["precision"]
    if len(shape) != 3 or not all(isinstance(length, int) and 0 < length < 2**16 for length in shape):
        raise ValueError(f"it is for images {shape!r}; expected [height, width, channels]")
    if not all(isinstance(name, str) and name.isprintable() and 0 < len(name) < 256 for name in classes):
        raise ValueError("its names of classes are no texts of a line")
    if precision not in _PRECISIONS:
        raise ValueError(f"its precision is {precision!r}; expected {', '.join(_PRECISIONS)}")
    program = content["program"]
    if program.dtype != np.uint8 or program.ndim != 1:
        raise ValueError("its program is no row of bytes")
    arrays = [content[f"array{index}"] for index in range(len(content) - 2)]
    apply, outputs, arrays = stored_program.read(program.tobytes(), arrays, tuple(shape))
    if len(classes) > outputs or len(set(classes)) < len(classes):
        raise ValueError(f"it names {len(set(classes))} classes and has {outputs} outputs")
    mean_std = _mean_std(about["mean"], about["std"], shape[2])
    return StoredModel(apply, arrays, program.tobytes(), tuple(shape), outputs, tuple(classes), mean_std, precision)


def _mean_std(mean: Any, std: Any, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    if mean is None and std is None:
        return None
    of_channels = np.asarray(mean, float), np.asarray(std, float)
    if (
        any(of.shape != (channels,) or not np.isfinite(of).all() for of in of_channels)
        or not (of_channels[1] > 0).all()
    ):
        raise ValueError(f"its mean and std are no numbers of {channels} channels")
    return of_channels


def _plain(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Return an array as NumPy writes it: bfloat16 and other kinds that it has not are kept exactly as float32."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array
