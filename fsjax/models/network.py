"""A classifier as pure functions over pure dicts of arrays."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from fsjax.fourier import spectrum
from fsjax.runtime.parallel import AXIS


@dataclasses.dataclass(frozen=True)
class Network:
    """A classifier as pure functions of its arrays.

    `variables` is {"params": ..., "batch_stats": ...}: nested dicts with string keys, named after the PyTorch modules,
    and float32 arrays at the leaves (`batch_stats` is empty for a network without BatchNorm). Two networks built from
    the same entry with the same arguments are equal and hash alike, so either may be a static argument of jit.

    Attributes:
        builder: makes the Flax NNX module; called as in `fsjax.models.MODELS`.
        num_classes: number of logits.
        image_size: height and width of the images in pixels.
        dtype: of computation, float32 or bfloat16; variables and logits are always float32.
        packed_frequencies: the frequencies of an image that it sees, a bit each; empty = all.

    Examples:
        >>> from fsjax import models
        >>> network = models.build("vit_nano_patch8", num_classes=10, image_size=24)  # a Network
        >>> variables = network.init(seed=0)
        >>> network.apply(variables, jnp.zeros((2, 24, 24, 3))).shape
        (2, 10)
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

    @property
    def frequencies(self) -> Bool[np.ndarray, "size size"] | None:
        """The centred frequencies of an image that it sees; None = all."""
        if not self.packed_frequencies:
            return None
        size = self.image_size
        bits = np.unpackbits(np.frombuffer(self.packed_frequencies, np.uint8), count=size**2)
        return bits.reshape(size, size).astype(bool)

    def seen(self, images: Float[Array, "images height width 3"]) -> Float[Array, "images height width 3"]:
        """Filter images for the first layer, in float32 for every dtype."""
        frequencies = self.frequencies
        return images if frequencies is None else spectrum.filter_images(images, jnp.asarray(frequencies)[None])[0]

    def init(self, seed: int) -> dict:
        """Draw fresh variables; the same seed gives the same ones on devices of the same kind."""
        # JAX's default generator is the same on all kinds of device, but takes several times as long to compile.
        return self._fresh(jax.random.key(seed, impl="rbg"))

    def apply(self, variables: dict, images: Float[Array, "images height width 3"]) -> Float[Array, "images classes"]:
        """Return float32 logits in evaluation mode of normalised float32 images, each by itself."""
        return self.bind(variables)(self.seen(images), train=False).astype(jnp.float32)

    def apply_train(
        self,
        variables: dict,
        images: Float[Array, "images height width 3"],
        keys: Key[Array, " images"] | None = None,
    ) -> tuple[Float[Array, "images classes"], dict]:
        """Return float32 logits in training mode, and the new batch statistics.

        Dropout draws from the key of each image; without keys nothing is dropped. Call this inside pmap or shard_map
        over the axis `fsjax.runtime.parallel.AXIS`: BatchNorm takes its means and variances over the images of all
        devices, which must hold equally many.
        """
        module = self.bind(variables)
        logits = module(self.seen(images), train=True, keys=keys).astype(jnp.float32)
        return logits, self._variables(module)["batch_stats"]

    @property
    def graphdef(self) -> nnx.GraphDef:
        """The module without its arrays; raises InputError where the builder cannot use its arguments."""
        return _graphdef(self)

    @functools.partial(jax.jit, static_argnames="self")
    def _fresh(self, key: Key[Array, ""]) -> dict:
        return self._variables(self._module(_make_rngs(key)))

    def _module(self, rngs: nnx.Rngs) -> nnx.Module:
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


# Each stage of a run builds an equal network of its own.
@functools.lru_cache(maxsize=8)
def _graphdef(network: Network) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: network._module(_make_rngs(jax.random.key(0)))))


def _make_rngs(key: Key[Array, ""]) -> nnx.Rngs:
    """Return nnx.Rngs(key), whose keys are drawn in a time that does not grow with what was traced before."""
    rngs = nnx.Rngs(key)
    rngs.default = _CountedStream(key, tag="default")  # type: ignore[attr-defined]
    return rngs


class _CountedStream(nnx.RngStream):
    """The keys of nnx.RngStream, counted in Python.

    Flax counts with an array. Under jit it asks for that array's sharding at each draw, and JAX goes through all that
    was traced before to word the error that follows, so deep networks took long to initialise.
    """

    drawn = 0

    def __call__(self) -> Key[Array, ""]:
        key = jax.random.fold_in(self.key[...], self.drawn)
        self.drawn += 1
        return key
