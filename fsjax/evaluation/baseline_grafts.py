"""Grafts of images into their baselines: a model's predictions for them, and the slopes of its log-odds there."""

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

Images = Float[np.ndarray, "n height width channels"]
# Masks, or a part in [0, 1] of each frequency, for each image.
Weights = Shaped[np.ndarray, "n height width"]


class BaselineGrafts:
    """Grafts of images, the donors, into baselines, the recipients: one of each, with masks of their own.

    Every device computes its batch by itself, so that results do not depend on the number of devices.

    Args:
      model: the classifier, of two or more outputs.
      images: normalised, as the model takes them.
      baselines: one an image.
      batch: images that a device takes at a time; None = as many as fit, by two compilations.

    Attributes:
      images, baselines: as given.
      plane: (H, W).
      predicted: the class that the model predicts for each image.
      baseline_predicted: the same for each baseline.

    Raises:
      InputError: a model that JAX cannot differentiate.
    """

    def __init__(
        self,
        model: Model,
        images: Images,
        baselines: Images,
        batch: int | None = None,
    ):
        _check_gradient(model)
        mesh, (height, width, _) = parallel.mesh(), model.image_shape
        self.images, self.baselines, self.plane = images, baselines, (height, width)
        self._split, replicated = NamedSharding(mesh, P(parallel.AXIS)), NamedSharding(mesh, P())
        self._params = jax.device_put(model.params, replicated)
        self._members = jax.device_put(patches.members(height, width, 1), replicated)
        self._logits, self._slopes = _programs(model, mesh)
        self._step = mesh.size * (batch or _batch_size(model, len(images)))
        # Masks rather than shares, since `logits` is compiled for masks anyway.
        ends = (np.full((len(images), height, width), end) for end in (True, False))
        self.predicted, self.baseline_predicted = (self.logits(end).argmax(-1).astype(np.int32) for end in ends)

    def logits(self, weights: Weights) -> Float[np.ndarray, "n classes"]:
        """Return the logits of baselines with this part, masks or in [0, 1], of their images' frequencies."""
        return self._batched(functools.partial(self._logits, self._params), self.images, self.baselines, weights)

    def grafted(self, masks: Bool[np.ndarray, "n height width"]) -> Images:
        """Return the baselines with these frequencies of their images."""
        return np.asarray(jax.jit(_grafted)(self.images, self.baselines, masks))

    def keep(self, masks: Bool[np.ndarray, "n height width"]) -> Bool[np.ndarray, " n"]:
        """Return whether the model predicts the same for the grafts of masks as for the images."""
        return self.logits(masks).argmax(-1) == self.predicted

    def slopes(self, weights: Weights) -> Float[np.ndarray, "n height width"]:
        """Return the slope of the predicted class's log-odds at a graft as more of an orbit is put in, in nats.

        Raises:
          InputError: a slope that is not finite.
          interrupt.Terminated: SIGTERM came.
        """
        program = functools.partial(self._slopes, self._params, self._members)
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


def _programs(model: Model, mesh: Mesh) -> tuple[Callable, Callable]:
    """Return two jitted functions that split images over the mesh.

    (params, images, baselines, weights) -> logits [n, K] of the grafts, and (params, members, images, baselines,
    weights, labels) -> slopes [n, orbits].
    """
    apply, precision = model.apply, model.matmul_precision

    def logits(params: PyTree, *grafts: Shaped[Array, "n ..."]) -> Float[Array, "n classes"]:
        return apply(params, _grafted(*grafts)).astype(jnp.float32)

    def slopes(
        params: PyTree,
        members: Int[Array, "orbits one"],
        images: Float[Array, "n height width channels"],
        baselines: Float[Array, "n height width channels"],
        weights: Shaped[Array, "n height width"],
        labels: Int[Array, " n"],
    ) -> Float[Array, "n orbits"]:
        grafted = _grafted(images, baselines, weights)
        return gradient.graft_slopes(functools.partial(apply, params), baselines, images, grafted, labels, members)

    logits_split, slopes_split = (False, True, True, True), (False, False, True, True, True, True)
    return (
        cached_program(
            apply, ("graft logits", precision, mesh), lambda: over_devices(logits, mesh, logits_split, precision)
        ),
        cached_program(
            apply, ("graft slopes", precision, mesh), lambda: over_devices(slopes, mesh, slopes_split, precision)
        ),
    )


def _grafted(
    images: Float[Array, "n height width channels"],
    baselines: Float[Array, "n height width channels"],
    weights: Shaped[Array, "n height width"],
) -> Float[Array, "n height width channels"]:
    return baselines + spectrum.filter_spectra(spectrum.spectra(images - baselines), weights[None])[0]


def _batch_size(model: Model, count: int) -> int:
    """Return how many images' slopes fit on a device, up to their number."""
    (height, width, _), shape = model.image_shape, jax.ShapeDtypeStruct
    members = patches.members(height, width, 1)

    def temporaries(images: int) -> int:
        image_shape = shape((images, *model.image_shape), jnp.float32)
        weights, labels = shape((images, height, width), jnp.float32), shape((images,), jnp.int32)
        shapes = members, image_shape, image_shape, weights, labels
        return tile_size.compiled_bytes(lambda mesh: _programs(model, mesh)[1], model.params, *shapes)

    on_cpu = lambda each: tile_size.CPU_MOST // each  # noqa: E731
    return min(count, tile_size.most_images(model, temporaries, memory_mib=0, on_cpu=on_cpu, name="the gradient"))
