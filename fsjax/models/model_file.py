"""Model files, `.fsjax`: a model's program, its arrays, and the meaning of its inputs and outputs."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

import fsjax
from fsjax.data.normalisation import parse_mean_std
from fsjax.engine.model import NORMALISED, Model
from fsjax.models import stored_program
from fsjax.models.callables import as_model
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

SUFFIX = ".fsjax"
VERSION = 1
_PRECISIONS = ("highest", "tensorfloat32")
_TRIED = 4


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
    and TPU. Its arrays lie beside the program, with the meaning of inputs and outputs. Reading it needs neither PyTorch
    nor the code that made the model. JAX reads such programs for at least six months after it wrote them.

    Args:
      path: of the file, which ends with .fsjax.
      model: as of `analyse`, in evaluation mode: a JAX callable, Flax, Equinox, Keras, or a PyTorch module.
      image_size: height and width in pixels.
      channels: of an image; a run's images have 3.
      classes: names of the first outputs, in their order; a run finds its classes by them.
      mean_std: the mean and std that normalise the model's images, of pixels in [0, 1], per channel.
      precision: of matrix products and convolutions, 'highest' (float32) or 'tensorfloat32'; the file fixes it.

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
    names, (mean, std) = tuple(classes), parse_mean_std(mean_std)
    if len(mean) not in (0, 1, channels):
        raise InputError(f"mean_std: got {len(mean)} channels; expected {channels}")
    shape = (image_size, image_size, channels)
    images = np.random.default_rng(0).normal(size=(_TRIED, *shape)).astype(np.float32)
    checked = as_model(model, images, max(1, len(names)))
    arrays, tree = jax.tree.flatten(checked.params)
    if any(jnp.issubdtype(array.dtype, jax.dtypes.extended) for array in arrays):
        raise InputError("model: got a model that holds random keys; expected a model that draws nothing")

    def apply(arrays: list[Any], images: Float[Array, "n height width channels"]) -> Float[Array, "n logits"]:
        return checked.apply(jax.tree.unflatten(tree, arrays), images)

    about = {
        "version": VERSION,
        "image_shape": shape,
        "classes": names,
        "mean": np.resize(mean, channels).tolist() if len(mean) else None,
        "std": np.resize(std, channels).tolist() if len(mean) else None,
        "precision": precision,
        "fsjax": fsjax.__version__,
        "jax": jax.__version__,
    }
    program = np.frombuffer(stored_program.write(apply, arrays, shape, precision), np.uint8)
    # NumPy writes no bfloat16, which float32 holds exactly.
    plain = [array.astype(np.float32) if array.dtype.kind == "V" else array for array in map(np.asarray, arrays)]
    stored = {f"array{index}": array for index, array in enumerate(plain)}
    with files.replacing(where) as file:
        # Not compressed: packing weights takes minutes and gains nothing.
        np.savez(file, about=np.array(json.dumps(about)), program=program, **stored)  # type: ignore[arg-type]


def load_model(path: str | Path) -> Model:
    """Read a model of `save_model`: a `Model`, which maps images to logits when called and which `analyse` takes.

    The file is untrusted: its sizes are checked before anything is read, it holds no Python, and its program may only
    compute. The program decides how long it computes, and in how much memory.

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
    content = files.read_npz(where)
    try:
        return _model(content)
    except InputError:
        raise
    except Exception as error:  # untrusted input: JAX, MLIR and JSON may raise anything
        raise InputError(f"{where}: not a readable model of fsjax.save_model ({one_line(error)[:300]})") from error


def _model(content: dict[str, Shaped[np.ndarray, "..."]]) -> Model:
    if missing := {"about", "program"} - content.keys():
        raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
    about = json.loads(str(content["about"]))
    if not isinstance(about, dict) or about.get("version") != VERSION:
        version = about.get("version") if isinstance(about, dict) else about
        raise ValueError(f"it is of version {version!r}; expected {VERSION}")
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
    stored_apply, outputs, arrays = stored_program.read(program.tobytes(), arrays, tuple(shape))
    if len(classes) > outputs or len(set(classes)) < len(classes):
        raise ValueError(f"it names {len(set(classes))} classes and has {outputs} outputs")
    # Partial results are tied to a model's parameters, and two programs may take the same arrays.
    digest = np.frombuffer(hashlib.sha256(program.tobytes()).digest(), np.uint8)

    def apply(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, "n logits"]:
        return stored_apply(params["arrays"], images)

    return Model(
        apply,
        {"arrays": arrays, "program": digest},
        tuple(shape),
        tuple(classes),
        _mean_std(about["mean"], about["std"], shape[2]),
        matmul_precision=precision,
    )


def _mean_std(mean: Any, std: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    if mean is None and std is None:
        return NORMALISED
    values = np.asarray(mean, float), np.asarray(std, float)
    if any(part.shape != (channels,) or not np.isfinite(part).all() for part in values) or not (values[1] > 0).all():
        raise ValueError(f"its mean and std are no numbers of {channels} channels")
    return values
