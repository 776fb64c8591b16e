"""Single images put into their baselines frequency by frequency: what a model says of it, and the slopes on the way."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.engine.programs import cached_program, over_devices
from fsjax.fourier import patches, spectrum
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError, one_line
from fsjax.search import gradient


class ImageGrafts:
    """Grafts of images, the donors, into baselines, the recipients: one of each, with a mask of their own.

    Every device computes its batch by itself, so that results do not depend on the number of devices.

    Args:
      model: the classifier, of two or more outputs.
      images: normalised, as the model takes them.
      baselines: one an image.
      batch: images that a device takes at a time; None = as many as fit, which two compilations tell.

    Attributes:
      images: as given.
      baselines: as given.
      plane: (H, W).
      predicted: the class that the model gives each image.
      of_baseline: the class that it gives each baseline.

    Raises:
      InputError: a model that JAX cannot differentiate.
    """

    def __init__(
        self,
        model: Model,
        images: Float[np.ndarray, "n height width channels"],
        baselines: Float[np.ndarray, "n height width channels"],
        batch: int | None = None,
    ):
        _check_gradient(model)
        mesh, (height, width, _) = parallel.mesh(), model.image_shape
        self.images, self.baselines, self.plane = images, baselines, (height, width)
        self._split, replicated = NamedSharding(mesh, P(parallel.AXIS)), NamedSharding(mesh, P())
        self._params = jax.device_put(model.params, replicated)
        self._members = jax.device_put(patches.members(height, width, 1), replicated)
        programs = model.apply, model.matmul_precision, mesh
        self._logits, self._slopes = _make_logits(*programs), _make_slopes(*programs)
        self._step = mesh.size * (batch or _batch_size(model, len(images)))
        # Of the type of masks, for which `logits` is compiled anyway.
        ends = (np.full((len(images), height, width), end) for end in (True, False))
        self.predicted, self.of_baseline = (self.logits(end).argmax(-1).astype(np.int32) for end in ends)

    def logits(self, weights: Shaped[np.ndarray, "n height width"]) -> Float[np.ndarray, "n classes"]:
        """Return the logits of baselines with this part, masks or in [0, 1], of their images' frequencies."""
        return self._batched(functools.partial(self._logits, self._params), self.images, self.baselines, weights)

    def images_of(self, masks: Bool[np.ndarray, "n height width"]) -> Float[np.ndarray, "n height width channels"]:
        """Return the grafts of masks: baselines with these frequencies of their images."""
        return np.asarray(jax.jit(_grafted)(self.images, self.baselines, masks))

    def keep(self, masks: Bool[np.ndarray, "n height width"]) -> Bool[np.ndarray, " n"]:
        """Return whether the model gives the grafts of masks what it gives the images."""
        return self.logits(masks).argmax(-1) == self.predicted

    def slopes(self, weights: Shaped[np.ndarray, "n height width"]) -> Float[np.ndarray, "n height width"]:
        """Return the slope of the predicted class's log-odds at a graft as more of an orbit is put in, in nats.

        Raises:
          InputError: a slope that is not finite.
          interrupt.Terminated: SIGTERM came.
        """

        def program(*arrays: Array) -> Float[Array, "n orbits"]:
            return self._slopes(self._params, *arrays, self._members)

        slopes = self._batched(program, self.images, self.baselines, weights, self.predicted)
        if not np.isfinite(slopes).all():
            image = int(np.flatnonzero(~np.isfinite(slopes).all(1))[0])
            raise InputError(f"model: got a non-finite gradient on image {image}; expected finite ones")
        by_orbit = np.empty(slopes.shape)
        by_orbit[:, patches.orbit_numbers(*self.plane)] = slopes
        return by_orbit[:, spectrum.orbits(*self.plane)]

    def _batched(self, program: Callable, *arrays: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n outputs"]:
        """Return a program's results for arrays of a row an image, as many images at a time as fit on the devices."""
        results = []
        for start in range(0, len(arrays[0]), self._step):
            interrupt.check()
            rows = [array[start : start + self._step] for array in arrays]
            padding = self._step - len(rows[0])
            padded = [np.pad(row, [(0, padding)] + [(0, 0)] * (row.ndim - 1), mode="edge") for row in rows]
            placed = [jax.device_put(row, self._split) for row in padded]
            results.append(np.asarray(program(*placed))[: len(rows[0])])
        return np.concatenate(results)


def _check_gradient(model: Model) -> None:
    image = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float32)
    try:
        jax.eval_shape(jax.grad(lambda image, params: model.apply(params, image).sum()), image, model.params)
    except Exception as error:  # of the caller's code; the cause stays attached
        raise InputError(
            f"model: got {type(error).__name__} for its gradient ({one_line(error)}); expected a function that JAX can "
            "differentiate"
        ) from error


def _make_logits(apply: Callable, precision: str, mesh: Mesh) -> Callable:
    """Return the jitted (params, images, baselines, weights) -> logits [n, K], split over the mesh by images."""

    def logits(
        params: PyTree,
        images: Float[Array, "n height width channels"],
        baselines: Float[Array, "n height width channels"],
        weights: Shaped[Array, "n height width"],
    ) -> Float[Array, "n classes"]:
        return apply(params, _grafted(images, baselines, weights)).astype(jnp.float32)

    split = False, True, True, True
    return cached_program(
        apply, ("graft logits", precision, mesh), lambda: over_devices(logits, mesh, split, precision)
    )


def _make_slopes(apply: Callable, precision: str, mesh: Mesh) -> Callable:
    """Return the jitted (params, images, baselines, weights, labels, members) -> slopes [n, orbits], split likewise."""

    def slopes(
        params: PyTree,
        images: Float[Array, "n height width channels"],
        baselines: Float[Array, "n height width channels"],
        weights: Shaped[Array, "n height width"],
        labels: Int[Array, " n"],
        members: Int[Array, "orbits one"],
    ) -> Float[Array, "n orbits"]:
        grafted = _grafted(images, baselines, weights)
        logits_of = functools.partial(apply, params)
        return gradient.graft_slopes(logits_of, baselines, images, grafted, labels, members)

    split = False, True, True, True, True, False
    return cached_program(
        apply, ("graft slopes", precision, mesh), lambda: over_devices(slopes, mesh, split, precision)
    )


def _grafted(
    images: Float[Array, "n height width channels"],
    baselines: Float[Array, "n height width channels"],
    weights: Shaped[Array, "n height width"],
) -> Float[Array, "n height width channels"]:
    return baselines + spectrum.filter_spectra(spectrum.spectra(images - baselines), weights[None])[0]


def _batch_size(model: Model, count: int) -> int:
    """Return how many images' slopes fit on a device, and no more than there are."""
    (height, width, _), shape = model.image_shape, jax.ShapeDtypeStruct
    members = patches.members(height, width, 1)

    def temporaries(images: int) -> int:
        of_images = shape((images, *model.image_shape), jnp.float32)
        weights, labels = shape((images, height, width), jnp.float32), shape((images,), jnp.int32)
        program = functools.partial(_make_slopes, model.apply, model.matmul_precision)
        return tile_size.compiled_bytes(program, model.params, of_images, of_images, weights, labels, members)

    on_cpu = lambda each: tile_size.CPU_MOST // each  # noqa: E731
    return min(count, tile_size.most_images(model, temporaries, memory_mib=0, on_cpu=on_cpu, name="the gradient"))
