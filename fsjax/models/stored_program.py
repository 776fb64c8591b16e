"""The program of a model file: a classifier as StableHLO, for any number of images and for every kind of device."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Shaped

from fsjax.engine.programs import at_precision
from fsjax.runtime.errors import InputError, one_line

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
# A custom call names a function of the runtime that takes raw memory; some such functions run Python. A file may only
# hold custom calls that stand for an operator, or that assert a shape.
_CUSTOM_CALL = re.compile(r"custom_call\b")
_HARMLESS = re.compile(r"custom_call @(shape_assertion|Sharding|(mhlo|chlo|stablehlo)\.\w+)\(")
# Operators that talk to the host.
_OF_HOST = re.compile(r"\bstablehlo\.(infeed|outfeed|send|recv)\b")


def write(apply: Callable, arrays: Sequence[Array | np.ndarray], image_shape: tuple[int, ...], precision: str) -> bytes:
    """Return apply(arrays, images [n, *image_shape] float32) -> logits [n, K], with its gradient, as bytes.

    Raises:
      InputError: JAX cannot trace the function for an unknown number of images, or a device cannot run it.
    """
    (count,) = export.symbolic_shape("n")
    specs = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
    images = jax.ShapeDtypeStruct((count, *image_shape), jnp.float32)
    named = jax.config.values["jax_traceback_in_locations_limit"]
    function, errors = at_precision(precision, apply), []
    try:
        # Keep the names of the author's source files out of the program.
        jax.config.update("jax_traceback_in_locations_limit", 0)
        # Code that needs a concrete number of images, such as len(images), is written image by image.
        for form in (function, _image_by_image(function)):
            try:
                exported = export.export(jax.jit(form), platforms=PLATFORMS)(specs, images)
                return bytes(exported.serialize(vjp_order=1))
            except Exception as error:  # the model's code may raise anything, as may jax.export
                errors.append(error)
    finally:
        jax.config.update("jax_traceback_in_locations_limit", named)
    raise InputError(
        f"save_model: got {type(errors[0]).__name__} from jax.export ({one_line(errors[0])[:200]}); expected a "
        "function of any number of images, of operators that every device has"
    ) from errors[0]


def read(
    program: bytes, arrays: Sequence[Shaped[np.ndarray, "..."]], image_shape: tuple[int, ...]
) -> tuple[Callable, int, list[np.ndarray]]:
    """Return apply(arrays, images), the number of its logits, and the arrays as it takes them.

    The function can be differentiated once, with respect to the images, and mapped over images by jax.vmap.

    Raises:
      ValueError: no program, a program of other arrays or images, or a program that does more than compute.
    """
    exported = export.deserialize(bytearray(program))
    *array_avals, image_aval = exported.in_avals
    expected: Any = jax.tree.structure((([0] * len(arrays), 0), {}))
    if expected != exported.in_tree or [aval.shape for aval in array_avals] != [array.shape for array in arrays]:
        raise ValueError("its program takes other arrays than the file has")
    if image_aval.shape[1:] != image_shape or image_aval.dtype != jnp.float32 or not _is_any(image_aval.shape[0]):
        raise ValueError(f"its program takes images {image_aval}; expected float32 [n, {image_shape}]")
    (logit_aval,) = exported.out_avals
    if (
        len(logit_aval.shape) != 2
        or not _is_any(logit_aval.shape[0])
        or not jnp.issubdtype(logit_aval.dtype, jnp.floating)
    ):
        raise ValueError(f"its program returns {logit_aval}; expected logits [n, K]")
    if not exported.has_vjp():
        raise ValueError("its program has no gradient")
    gradient = exported.vjp()
    for part in (exported, gradient):
        _check(part)
    slope = gradient.out_avals[-1]
    if slope.shape[1:] != image_shape or slope.dtype != jnp.float32 or not _is_any(slope.shape[0]):
        raise ValueError("its program has no gradient with respect to the images")
    typed = [np.asarray(array, aval.dtype) for array, aval in zip(arrays, array_avals, strict=True)]
    return _function(exported, gradient), logit_aval.shape[1], typed


def _image_by_image(function: Callable) -> Callable:
    return lambda arrays, images: jax.vmap(lambda image: function(arrays, image[None])[0])(images)


def _is_any(length: Any) -> bool:
    return not isinstance(length, int)


def _check(exported: export.Exported) -> None:
    """Raise ValueError for a program that does more than compute, or is for several devices."""
    if exported.nr_devices != 1 or exported.ordered_effects or exported.unordered_effects:
        raise ValueError("its program is for several devices, or has effects")
    text = exported.mlir_module()
    if len(_CUSTOM_CALL.findall(text)) != len(_HARMLESS.findall(text)) or _OF_HOST.search(text):
        raise ValueError("its program calls functions outside it, which no file may")


def _function(exported: export.Exported, gradient: export.Exported) -> Callable:
    """Return the program as a function with a gradient and a rule for jax.vmap, which exported programs lack."""
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
