"""Convert and check models as people hold them: JAX callables, Flax, Equinox, Keras and PyTorch modules."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Float, Shaped

from fsjax.engine.model import Model, check_logits
from fsjax.models.channels_last import channels_last_on_cpu, closed_over, evaluate
from fsjax.models.pytorch.graph import from_torch
from fsjax.runtime.errors import InputError, one_line

# Images that a model is tried on, and how far their logits may differ, as a share of the largest.
_TRIED, _APART = 4, 1e-3
# The last model, its program and its `apply`; only one, because `apply` keeps the model in memory.
_last: tuple[Any, Any, Callable] | None = None
# Errors of Flax for something that training changes or draws.
_TRAINING_ERRORS = ("TraceContextError", "ModifyScopeVariableError", "InvalidRngError")
_EVALUATION = {
    "nnx": "model.eval() before the call",
    "linen": "its form for evaluation: lambda images: module.apply(variables, images, train=False)",
    "equinox": "equinox.nn.inference_mode(model)",
    "keras": "layers that draw nothing with training=False",
    "torch": "a module of each image by itself",
    "": "a function of each image by itself, in evaluation mode (model.eval(), train=False)",
}


def as_model(model: Any, images: Float[np.ndarray, "images height width channels"], num_classes: int) -> Model:
    """Convert a model for the engine and try it on a few images.

    Args:
      model: a callable, images [n, H, W, C] float32 for any n -> logits [n, K], K >= num_classes, that JAX can trace; a
        Flax NNX module; (module, variables) of Flax Linen; an Equinox module, of a batch or of a single image [H, W, C]
        or [C, H, W]; a Keras model on JAX; a PyTorch module, as `from_torch` takes it. Arrays that it holds become
        arguments of the compiled program. A `Model` is returned unchanged, with the programs compiled for it.
      images: normalised; a few are tried.
      num_classes: how many logits are used.

    Raises InputError for a model of another kind, in training mode or computed by NumPy, and for logits that are no
    floats, not finite, or different for an image alone.
    """
    count, *shape = images.shape
    if isinstance(model, Model):
        if model.image_shape != tuple(shape):
            raise InputError(f"model: got a model of images {model.image_shape}; expected {tuple(shape)}")
        if model.num_logits < num_classes:
            raise InputError(f"model: got {model.num_logits} logits; expected {num_classes} or more")
        return model
    kind = _kind(model)
    try:
        converted = _convert(model, kind, images[:1])
        logits = jax.eval_shape(converted.apply, converted.params, jax.ShapeDtypeStruct(images.shape, jnp.float32))
    except InputError as error:
        raise InputError(str(error).replace("from_torch:", "model:")) from error
    except Exception as error:  # the caller's code may raise anything; the cause stays attached
        raise InputError(f"model: {_reason(error, model, kind, shape)}") from error
    if logits.ndim != 2 or logits.shape[0] != count or logits.shape[1] < num_classes:
        expected = f"[{count}, K], K >= {num_classes}"
        raise InputError(f"model: got shape {logits.shape} for {count} images; expected {expected}")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise InputError(f"model: got logits of {logits.dtype}; expected floats, not predicted classes")
    few = images[np.linspace(0, len(images) - 1, _TRIED).round().astype(int)]
    with jax.default_matmul_precision("highest"):
        converted = _with_last_programs(model, converted, few)
        _try(converted, few, f"expected {_EVALUATION[kind]}")
    return converted


def _with_last_programs(model: Any, converted: Model, images: Float[np.ndarray, "n height width channels"]) -> Model:
    """Return the converted model with the `apply` of the last call, and so its programs, if that was this model.

    Weights are arguments. A model that changed otherwise, such as a module's mode, has another lowered program.
    """
    global _last
    text = jax.jit(converted.apply).lower(converted.params, images).as_text()
    key = jax.tree.structure(converted.params), text
    if _last and _last[0] is model and _last[1] == key:
        return dataclasses.replace(converted, apply=_last[2])
    _last = model, key, converted.apply
    return converted


def _kind(model: Any) -> str:
    """Return 'nnx', 'linen', 'equinox', 'keras', 'torch' or '' without importing these libraries."""
    if isinstance(model, tuple):
        return "linen"
    modules = [base.__module__ + "." for base in type(model).__mro__]
    prefixes = {"nnx": "flax.nnx.", "linen": "flax.linen.", "equinox": "equinox.", "keras": "keras.", "torch": "torch."}
    return next((kind for kind, prefix in prefixes.items() if any(name.startswith(prefix) for name in modules)), "")


def _convert(model: Any, kind: str, image: Float[np.ndarray, "1 height width channels"]) -> Model:
    """Return the model with the arrays that it holds as parameters."""
    if kind == "torch":
        return from_torch(model, np.moveaxis(image, -1, 1))
    function = _as_function(model, kind, image.shape[1:])
    logits = jax.eval_shape(function, jax.ShapeDtypeStruct(image.shape, jnp.float32))
    if not isinstance(logits, jax.ShapeDtypeStruct):
        raise InputError(f"model: got {type(logits).__name__}; expected one array of logits [n, K]")
    return Model(*convert_closure(function, image.shape[1:]), image.shape[1:])


def _as_function(model: Any, kind: str, shape: tuple[int, ...]) -> Callable:
    """Return the model as a function of images [n, H, W, C]; `shape` is [H, W, C]."""
    if kind == "linen":
        if not isinstance(model, tuple) or len(model) != 2 or not hasattr(model[0], "apply"):
            raise InputError("model: got no variables; expected (module, variables) for a Linen module")
        module, variables = model
        return lambda images: module.apply(variables, images)
    if not callable(model):
        raise InputError(f"model: got {type(model).__name__}; expected a callable from images to logits")
    if kind == "keras":
        return lambda images: model(images, training=False)
    return _over_batches(model, shape) if kind == "equinox" else model


def _over_batches(model: Callable, shape: tuple[int, ...]) -> Callable:
    """Return an Equinox module of a batch, or of an image with channels last or first, as a function of a batch."""
    forms: list[Callable] = [model, jax.vmap(model), lambda images: jax.vmap(model)(jnp.moveaxis(images, -1, 1))]
    batch, causes = jax.ShapeDtypeStruct((7, *shape), jnp.float32), []
    for form in forms:
        try:
            logits = jax.eval_shape(form, batch)
        except Exception as error:  # the caller's code may raise anything; the last error is raised
            causes.append(error)
            continue
        if isinstance(logits, jax.ShapeDtypeStruct) and logits.shape[:1] == (7,) and logits.ndim == 2:
            return form
    if causes:
        raise causes[-1]
    return jax.vmap(model)


def _reason(error: Exception, model: Any, kind: str, shape: list[int]) -> str:
    """Describe the fault of a model that JAX cannot trace, and the expected model."""
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "got a function that makes NumPy arrays of its images; expected jax.numpy in place of numpy"
    if isinstance(error, jax.errors.ConcretizationTypeError):
        return "got a function that branches on values of its images; expected jax.numpy.where in place of if"
    if _is_in_training(error, model, kind):
        return f"got a model in training mode ({type(error).__name__}); expected {_EVALUATION[kind]}"
    return (
        f"got {type(error).__name__} for images of shape {[1, *shape]} ({one_line(error)[:200]}); "
        "expected a function from float32 images [n, height, width, channels] to logits [n, classes]"
    )


def _is_in_training(error: Exception, model: Any, kind: str) -> bool:
    """Return whether an error comes from a model in training mode."""
    if type(error).__name__ in _TRAINING_ERRORS:
        return True
    if kind == "equinox":
        parts = jax.tree.leaves(model, is_leaf=lambda part: getattr(part, "inference", None) is False)
        return any(getattr(part, "inference", None) is False for part in parts)
    arguments = ("use_running_average", "deterministic", "'train'", "'training'")
    return isinstance(error, TypeError | ValueError) and any(name in str(error) for name in arguments)


def _try(model: Model, few: Float[np.ndarray, "n height width channels"], expected: str) -> None:
    """Raise InputError where the logits of an image depend on the other images, on its place, or on the call."""
    forward: Callable[..., Array] = jax.jit(model.apply)
    # One shape, and so one compilation: copies of an image stand for that image alone.
    together, again, alone = (
        np.asarray(forward(model.params, batch), float) for batch in (few, few, np.repeat(few[:1], _TRIED, 0))
    )
    if not np.isfinite([together, alone]).all():
        raise InputError("model: got logits that are not finite; expected finite numbers for finite images")
    check_logits(together, "model")
    largest = np.abs(together).max()
    for difference, case in (
        (alone - together[:1], "alone than beside others"),
        (again - together, "when called again"),
    ):
        if (apart := np.abs(difference).max()) > _APART * largest:
            got = f"other logits for an image {case} (by {apart:.2g}), as in training mode"
            raise InputError(f"model: got {got}; {expected}")


def convert_closure(function: Callable, shape: tuple[int, ...]) -> tuple[Callable, list[Array]]:
    """Lift the arrays that a function closes over into an argument: return (apply(arrays, images), arrays).

    Constants would compile slowly, and again for every set of weights. Arrays that nested jitted functions close over
    are lifted too; arrays inside loops and branches of jax.lax stay there. `shape` is an image's.
    """
    arrays = [jnp.asarray(const) for const in closed_over(_trace(function, (1, *shape)))]

    @channels_last_on_cpu
    def apply(arrays: list[Array], images: Shaped[Array, "images ..."]) -> Shaped[Array, "..."]:
        closed = _trace(function, images.shape)
        if [const.shape for const in closed_over(closed)] != [array.shape for array in arrays]:
            got = "other closed-over arrays for another number of images"
            raise InputError(f"model: got {got}; expected the same for any number")
        (result,) = evaluate(closed.jaxpr, iter(arrays), [images])
        return result

    return apply, arrays


def _trace(function: Callable, shape: tuple[Any, ...]) -> ClosedJaxpr:
    """Return the jaxpr for images of a shape, whose number jax.export leaves open."""
    # JAX would trace the same function only once, and a module of other weights by now is the same function.
    return jax.make_jaxpr(lambda images: function(images))(jax.ShapeDtypeStruct(shape, jnp.float32))
