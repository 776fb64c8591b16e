"""A classifier as pure functions of pure dicts of arrays: for training, and for evaluation with BatchNorm folded."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key, PyTree, Shaped

from fsjax.fourier import spectrum
from fsjax.models.layers import Images, Logits
from fsjax.runtime.parallel import AXIS


@dataclasses.dataclass(frozen=True)
class Network:
    """A classifier as pure functions of its arrays.

    `variables` is {"params": ..., "batch_stats": ...}: nested dicts with string keys, named after the PyTorch modules,
    and float32 arrays at the leaves (`batch_stats` is empty for a network without BatchNorm). Two networks built from
    the same entry with the same arguments are equal and hash alike, so either may be a static argument of jit.

    `builder` is called as in `fsjax.models.MODELS`; `image_size` is in pixels. `dtype` is of computation, float32 or
    bfloat16: variables and logits are always float32. `packed_frequencies` are those that the network sees of an image,
    a bit each; empty = all.
    """

    builder: Callable[..., nnx.Module]
    num_classes: int
    image_size: int
    dtype: jnp.dtype
    packed_frequencies: bytes = b""

    def limited_to(self, frequencies: Bool[np.ndarray, "size size"] | None) -> "Network":
        """Return the network behind a fixed filter that keeps these centred frequencies of an image; None = all."""
        packed = b"" if frequencies is None else np.packbits(frequencies).tobytes()
        return dataclasses.replace(self, packed_frequencies=packed)

    def seen(self, images: Images) -> Images:
        """Filter images for the first layer, in float32 for every dtype."""
        if not self.packed_frequencies:
            return images
        size = self.image_size
        bits = np.unpackbits(np.frombuffer(self.packed_frequencies, np.uint8), count=size**2)
        return spectrum.filter_images(images, jnp.asarray(bits.reshape(1, size, size).astype(bool)))[0]

    def init(self, seed: int) -> dict:
        """Draw fresh variables; a seed gives the same variables on devices of the same kind."""
        return self._fresh(np.int64(seed))

    def apply(self, variables: dict, images: Images) -> Logits:
        """Return float32 logits in evaluation mode of normalised float32 images, each by itself."""
        return self.bind(variables)(self.seen(images), train=False).astype(jnp.float32)

    def apply_train(self, variables: dict, images: Images) -> tuple[Logits, dict]:
        """Return float32 logits in training mode, and the new batch statistics.

        Call this inside pmap over the axis `fsjax.runtime.parallel.AXIS`. BatchNorm takes its means and variances over
        the images of all devices, which must hold equally many.
        """
        module = self.bind(variables)
        logits = module(self.seen(images), train=True).astype(jnp.float32)
        return logits, self._variables(module)["batch_stats"]

    @functools.cached_property
    def graphdef(self) -> nnx.GraphDef:
        """The module without its arrays; raises InputError where the builder cannot use its arguments."""
        return nnx.graphdef(nnx.eval_shape(lambda: self._module(jax.random.key(0))))

    @functools.partial(jax.jit, static_argnames="self")
    def _fresh(self, seed: Int[Array, ""]) -> dict:
        # JAX's default generator gives the same numbers on all kinds of device, but compiles several times as long.
        return self._variables(self._module(jax.random.key(seed, impl="rbg")))

    def _module(self, key: Key[Array, ""]) -> nnx.Module:
        rngs = nnx.Rngs(key)
        rngs.default = _CountedStream(key, tag="default")  # type: ignore[attr-defined]
        return self.builder(
            num_classes=self.num_classes, image_size=self.image_size, dtype=self.dtype, axis_name=AXIS, rngs=rngs
        )

    def bind(self, variables: dict) -> nnx.Module:
        """Return the module with these arrays."""
        return nnx.merge(self.graphdef, variables["params"], variables["batch_stats"])

    @staticmethod
    def _variables(module: nnx.Module) -> dict:
        params, batch_stats = nnx.state(module, nnx.Param, nnx.BatchStat)
        return {"params": nnx.to_pure_dict(params), "batch_stats": nnx.to_pure_dict(batch_stats)}


def fold(network: Network, variables: dict, *, empty: bool = False) -> tuple[Callable, PyTree]:
    """Return a network for evaluation only, with BatchNorms folded into the convolutions that they follow.

    Returns (apply(params, normalised images) -> float32 logits, params). A BatchNorm `bnN` belongs to the `convN`
    beside it; BatchNorm n of a sequence belongs to its convolution n-1. With `empty` the variables are emptied, so that
    no array is in memory twice. The logits are `network.apply`'s up to rounding: scales are multiplied in float64 and
    rounded once. Folded arrays are NumPy's. Equal networks share one `apply`.
    """
    module = network.bind(variables)
    if empty:
        variables.clear()
    modules: dict[tuple, nnx.Module] = dict(nnx.iter_modules(module))
    for path, norm in modules.items():
        last = path[-1] if path else ""
        before = str(int(last) - 1) if last.isdigit() else last.replace("bn", "conv")
        conv = modules.get((*path[:-1], before))
        if isinstance(norm, nnx.BatchNorm) and isinstance(conv, nnx.Conv):
            _absorb(conv, norm)
            setattr(modules.get(path[:-1], module), path[-1], Identity())
    graphdef, state = nnx.split(module)
    return _make_apply(network, graphdef), nnx.to_pure_dict(state)


# Runs that train equal networks in one process, as a probe does, share traces and programs.
@functools.lru_cache(maxsize=8)
def _make_apply(network: Network, graphdef: nnx.GraphDef) -> Callable:
    def apply(params: PyTree, images: Float[Array, "images height width channels"]) -> Float[Array, "images classes"]:
        return nnx.merge(graphdef, params)(network.seen(images), train=False).astype(jnp.float32)

    return apply


def folded(
    kernel: Shaped[np.ndarray, "*window outputs"],
    bias: Any,
    scale: Any,
    shift: Any,
    mean: Shaped[np.ndarray, " outputs"],
    variance: Shaped[np.ndarray, " outputs"],
    epsilon: float,
) -> tuple[Float32[np.ndarray, "*window outputs"], Float32[np.ndarray, " outputs"]]:
    """Return kernel and bias of a convolution with the BatchNorm behind it: scale * (conv(x) - mean) + shift.

    scale is divided by sqrt(variance + epsilon). bias, scale and shift have a number for each output, or one for all.
    Computed in float64.
    """
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    scale = np.asarray(scale, np.float64) / np.sqrt(variance + epsilon)
    moved = (np.asarray(bias, np.float64) - mean) * scale + np.asarray(shift, np.float64)
    # Into float32 at once: the product of a large kernel in float64 would take twice its memory.
    product = np.multiply(kernel, scale, out=np.empty_like(kernel, np.float32), casting="same_kind")
    return product, moved.astype(np.float32)


def _absorb(conv: nnx.Conv, norm: nnx.BatchNorm) -> None:
    # get_value: indexing a variable would first make a JAX array, a second copy.
    scale, shift, mean, variance = (
        np.asarray(part.get_value()) for part in (norm.scale, norm.bias, norm.mean, norm.var) if part is not None
    )
    before = 0 if conv.bias is None else np.asarray(conv.bias.get_value())
    # New variables: assigning to elements of the old variables would write into the caller's NumPy arrays.
    arrays: Any = folded(np.asarray(conv.kernel.get_value()), before, scale, shift, mean, variance, norm.epsilon)
    conv.kernel, conv.bias = map(nnx.Param, arrays)
    conv.use_bias = True


class Identity(nnx.Module):
    """The replacement of a folded BatchNorm."""

    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h w c"]:
        del train
        return x


class _CountedStream(nnx.RngStream):
    """The keys of nnx.RngStream, counted in Python: counting with an array makes JAX walk through all it has traced."""

    drawn = 0

    def __call__(self) -> Key[Array, ""]:
        key = jax.random.fold_in(self.key[...], self.drawn)
        self.drawn += 1
        return key
