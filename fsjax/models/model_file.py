"""Model files, `.fsjax`: a model's program, its arrays, and the meaning of its inputs and outputs."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, PyTree, Shaped

import fsjax
from fsjax.data.normalisation import parse_mean_std
from fsjax.engine.model import NORMALISED, Model
from fsjax.engine.programs import at_precision
from fsjax.models.callables import as_model
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError, check_known, expect, one_line
from fsjax.runtime.storage import Path

SUFFIX = ".fsjax"
VERSION = 1
_PRECISIONS = ("highest", "tensorfloat32")
_TRIED = 4
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
# A custom call names a function of the runtime that takes raw memory; some such functions run Python. A file may only
# hold custom calls that stand for an operator, or that assert a shape.
_CUSTOM_CALL = re.compile(r"custom_call\b")
_HARMLESS = re.compile(r"custom_call @(shape_assertion|Sharding|(mhlo|chlo|stablehlo)\.\w+)\(")
# Operators that talk to the host.
_OF_HOST = re.compile(r"\bstablehlo\.(infeed|outfeed|send|recv)\b")


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
    and TPU. Its arrays lie beside the program, with the meaning of inputs and outputs. It is read without PyTorch and
    without the code that made the model. JAX reads such programs for at least six months after it wrote them.

    Args:
      path: of the file, which ends with .fsjax.
      model: as `analyse` takes it, in evaluation mode: a JAX callable, Flax, Equinox, Keras, or a PyTorch module.
      image_size: height and width in pixels.
      channels: of an image; a run's images have 3.
      classes: names of the first outputs, in their order; a run finds its classes by them.
      mean_std: the mean and std that normalise the model's images, of pixels in [0, 1], per channel.
      precision: of matrix products and convolutions, 'highest' (float32) or 'tensorfloat32'; the file fixes it.

    Raises InputError, a ValueError that says why it is no model, or cannot be written.

    Examples:
      >>> fsjax.save_model("wave.fsjax", model, image_size=8, channels=1, classes=names)
    """
    where = storage.path(path)
    expect(where.suffix == SUFFIX, "path", where.name, f"a name that ends with {SUFFIX}")
    check_known("precision", precision, _PRECISIONS)
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
    program = np.frombuffer(_serialize(apply, arrays, shape, precision), np.uint8)
    # NumPy writes no bfloat16, which float32 holds exactly.
    plain = [array.astype(np.float32) if array.dtype.kind == "V" else array for array in map(np.asarray, arrays)]
    stored = {f"array{index}": array for index, array in enumerate(plain)}
    with files.replacing(where) as file:
        # Not compressed: packing weights takes minutes and gains nothing.
        np.savez(file, about=np.array(json.dumps(about)), program=program, **stored)  # type: ignore[arg-type]


def _serialize(
    apply: Callable, arrays: Sequence[Array | np.ndarray], image_shape: tuple[int, ...], precision: str
) -> bytes:
    """Return apply(arrays, images [n, *image_shape]) -> logits [n, K], with its gradient, as StableHLO."""
    (count,) = export.symbolic_shape("n")
    specs = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
    images = jax.ShapeDtypeStruct((count, *image_shape), jnp.float32)
    named = jax.config.values["jax_traceback_in_locations_limit"]
    function, errors = at_precision(precision, apply), []
    try:
        # Keep the names of the author's source files out of the program.
        jax.config.update("jax_traceback_in_locations_limit", 0)
        # Code that needs a concrete number of images, such as len(images), is written image by image.
        for form in (function, lambda arrays, images: jax.vmap(lambda image: function(arrays, image[None])[0])(images)):
            try:
                exported = export.export(jax.jit(form), platforms=_PLATFORMS)(specs, images)
                return bytes(exported.serialize(vjp_order=1))
            except Exception as error:  # the model's code may raise anything, as may jax.export
                errors.append(error)
    finally:
        jax.config.update("jax_traceback_in_locations_limit", named)
    got = f"{type(errors[0]).__name__} from jax.export ({one_line(errors[0])[:200]})"
    expected = "a function of any number of images, of operators that every device has"
    raise InputError(f"save_model: got {got}; expected {expected}") from errors[0]


def load_model(path: str | Path) -> Model:
    """Read a model of `save_model`: a `Model`, which maps images to logits when called and which `analyse` takes.

    The file is untrusted: it holds no Python, and its program may only compute. The program decides how long it
    computes, and in how much memory. Raises InputError, a ValueError that says why the file is no model.

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
    except Exception as error:  # untrusted input: JAX, MLIR and JSON may raise anything
        raise _unreadable(where, error) from error


def read_image_size(path: str | Path) -> int:
    """Return the height of a model file's images, in pixels; raise InputError as `load_model` does."""
    where = storage.path(path)
    try:
        return int(json.loads(str(files.read_npz(where, ("about",))["about"]))["image_shape"][0])
    except (LookupError, TypeError, ValueError) as error:
        raise _unreadable(where, error) from error


def _unreadable(where: Path, error: Exception) -> InputError:
    return InputError(f"{where}: not a readable model of fsjax.save_model ({one_line(error)[:300]})")


def _model(content: dict[str, Shaped[np.ndarray, "..."]]) -> Model:
    about, program = json.loads(str(content["about"])), content["program"].tobytes()
    if about["version"] != VERSION:
        raise ValueError(f"it is of version {about['version']!r}; expected {VERSION}")
    if not all(name.isprintable() for name in about["classes"]):
        raise ValueError("its names of classes are not printable")
    exported = export.deserialize(bytearray(program))
    gradient = exported.vjp()
    for part in (exported, gradient):
        _check(part)
    stored_apply, shape = _with_gradient(exported, gradient), tuple(about["image_shape"])
    # Partial results are tied to a model's parameters, and two programs may take the same arrays.
    params = {
        "arrays": [np.asarray(content[f"array{i}"], aval.dtype) for i, aval in enumerate(exported.in_avals[:-1])],
        "program": np.frombuffer(hashlib.sha256(program).digest(), np.uint8),
    }

    def apply(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, "n logits"]:
        return stored_apply(params["arrays"], images)

    mean_std = (np.asarray(about["mean"]), np.asarray(about["std"])) if about["mean"] else NORMALISED
    model = Model(apply, params, shape, tuple(about["classes"]), mean_std, matmul_precision=about["precision"])
    # JAX refuses other arrays and images than the program's.
    slopes = jax.grad(lambda images: apply(params, images).sum())
    jax.eval_shape(slopes, jax.ShapeDtypeStruct((_TRIED, *shape), jnp.float32))
    if model.num_logits < len(model.classes):
        raise ValueError(f"it names {len(model.classes)} classes and has {model.num_logits} outputs")
    return model


def _check(exported: export.Exported) -> None:
    """Raise ValueError for a program that does more than compute, or is for several devices."""
    if exported.nr_devices != 1 or exported.ordered_effects or exported.unordered_effects:
        raise ValueError("its program is for several devices, or has effects")
    text = exported.mlir_module()
    if len(_CUSTOM_CALL.findall(text)) != len(_HARMLESS.findall(text)) or _OF_HOST.search(text):
        raise ValueError("its program calls functions outside it, which no file may")


def _with_gradient(exported: export.Exported, gradient: export.Exported) -> Callable:
    """Return a program as apply(arrays, images), with a gradient by the images and a rule for jax.vmap over images."""
    logits = _mapped(lambda arrays, images: exported.call(arrays, images))
    slope = _mapped(lambda arrays, images, by_logits: gradient.call(*arrays, images, by_logits)[-1])
    apply = jax.custom_vjp(logits)
    apply.defvjp(
        lambda arrays, images: (logits(arrays, images), (arrays, images)),
        lambda inputs, by_logits: (None, slope(*inputs, by_logits)),
    )
    return apply


def _mapped(function: Callable) -> Callable:
    """Return function(arrays, *batches), [n, ...] -> [n, ...]; jax.vmap joins several batches into a single batch."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def _(size: int, is_mapped: list, arrays: Any, *batches: Any) -> tuple[Array, bool]:
        maps_arrays, *maps_batches = is_mapped
        assert not any(maps_arrays), "a model file is mapped over images alone"
        whole = [
            batch if is_batch else jnp.broadcast_to(batch, (size, *batch.shape))
            for batch, is_batch in zip(batches, maps_batches, strict=True)
        ]
        result = mapped(arrays, *(batch.reshape(-1, *batch.shape[2:]) for batch in whole))
        return result.reshape(size, -1, *result.shape[1:]), True

    return mapped
