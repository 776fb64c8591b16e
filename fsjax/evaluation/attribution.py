"""Which frequencies decided single images: a ranking of each image's orbits, and the sets that keep its prediction."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from fsjax.engine.model import Model
from fsjax.engine.programs import cached_program, over_devices
from fsjax.evaluation import statistics
from fsjax.fourier import masks, patches, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.config_fields import check_number
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.random_streams import SEEDS, Stream, generator
from fsjax.search import graft

Images = Float[np.ndarray, "n height width channels"]
Planes = Float[np.ndarray, "n height width"]
Masks = Bool[np.ndarray, "n height width"]
Weights = Shaped[np.ndarray, "n height width"]  # masks, or numbers in [0, 1]

SHARES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
# Shares of the sets at which the order is refined, in turn, and the weight of a new slope in its mean.
_REFINED_AT, _NEW = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16), 0.1
# Images of a device's batch: their slopes fit wherever the model was searched.
_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The frequencies that decided single images.

    Attributes:
      predicted, baseline_predicted: the classes that the model predicts for each image and its baseline; where both
        agree, the empty set keeps the prediction.
      scores: nats, constant on orbits. Their sum over an image's orbits is the log-odds of `predicted` at the image
        less the log-odds at its baseline, up to the error of the path's steps.
      places: place of each position's orbit in the image's order, 0 the first.
      kept, kept_without: by order ("attribution", "energy" of image less baseline, "random"), whether the model
        predicts `predicted` for the baseline with the image's first orbits within each share (insertion), and for the
        image with the baseline's frequencies there (deletion).
      smallest: the fewest first orbits that keep the prediction.

    Examples:
      >>> found = fsjax.attribute(model, images[:20], shares=(0.05, 0.2))  # an Attribution
      >>> found.scores.shape, found.kept["attribution"].mean(0).tolist()  # predictions kept, at each share
      ((20, 8, 8), [1.0, 1.0])
      >>> difference, interval = found.advantage("energy")  # at each share, in [-1, 1]
      >>> difference.shape, interval.shape
      ((2,), (2, 2))
    """

    predicted: Int[np.ndarray, " n"]
    baseline_predicted: Int[np.ndarray, " n"]
    scores: Planes
    places: Int[np.ndarray, "n height width"]
    shares: tuple[float, ...]
    kept: dict[str, Bool[np.ndarray, "n shares"]]
    kept_without: dict[str, Bool[np.ndarray, "n shares"]]
    smallest: Masks

    @property
    def smallest_shares(self) -> Float[np.ndarray, " n"]:
        """Share of the plane that each image's smallest set takes, in [0, 1]."""
        return self.smallest.mean((1, 2))

    def masks(self, share: float) -> Masks:
        """Return each image's first orbits within a share of the plane, in (0, 1]."""
        return first_orbits(-self.places.astype(float), share)

    def advantage(self, over: str = "energy") -> tuple[Float[np.ndarray, " shares"], Float[np.ndarray, "shares 2"]]:
        """Return the surplus of kept predictions over another order, in [-1, 1] at each share, with 95 % intervals."""
        differences = self.kept["attribution"].astype(float) - self.kept[over]
        return differences.mean(0), statistics.bootstrap_interval(differences)


def attribute(
    grafts: "BaselineGrafts",
    *,
    shares: Sequence[float] | None = None,
    steps: int = 8,
    refinements: int = 24,
    seed: int = 0,
) -> Attribution:
    """Return what `fsjax.attribute` does.

    Raises InputError for shares outside (0, 1] or without an orbit, no step, or a gradient that is not finite.
    """
    shares, least = default_shares(grafts.plane) if shares is None else tuple(shares), 2 / np.prod(grafts.plane)
    if not shares or not all(least <= share <= 1 for share in shares):
        raise InputError(f"shares: got {shares}; expected numbers from {least:.3g}, which is one orbit, to 1")
    check_number("steps", steps, "[1, inf)", whole=True)
    check_number("refinements", refinements, whole=True)
    check_number("seed", seed, SEEDS, whole=True)
    grafts.check_gradient()
    planes = (len(grafts.images), *grafts.plane)
    slopes = [grafts.slopes(np.full(planes, (step + 0.5) / steps, np.float32)) for step in range(steps)]
    scores = np.mean(slopes, axis=0)
    energy = np.stack([spectrum.energy(difference[None]) for difference in grafts.images - grafts.baselines])
    random = [generator(seed, Stream.ATTRIBUTION_ORDER, index).random(grafts.plane) for index in range(len(scores))]
    orders = {"attribution": refine(grafts, scores, refinements), "energy": energy, "random": np.stack(random)}
    kept, kept_without = {}, {}
    for name, order in orders.items():
        sets = [first_orbits(order, share) for share in shares]
        kept[name] = np.stack([grafts.keep(chosen) for chosen in sets], axis=1)
        kept_without[name] = np.stack([grafts.keep(~chosen) for chosen in sets], axis=1)
    places = masks.ranks(np.ones(planes, bool), orders["attribution"])
    places = places.astype(np.int32)[:, spectrum.orbits(*grafts.plane)]
    return Attribution(
        predicted=grafts.predicted,
        baseline_predicted=grafts.logits(np.zeros(planes, bool)).argmax(-1).astype(np.int32),
        scores=scores.astype(np.float32),
        places=places,
        shares=shares,
        kept=kept,
        kept_without=kept_without,
        smallest=_smallest(grafts, places),
    )


def default_shares(plane: tuple[int, int]) -> tuple[float, ...]:
    """Return the SHARES that hold an orbit of a plane (H, W)."""
    return tuple(share for share in SHARES if share >= 2 / np.prod(plane))


def refine(grafts: "BaselineGrafts", scores: Planes, refinements: int) -> Planes:
    """Return an order of the orbits, largest first, whose first orbits keep more predictions than the scores' order.

    The straight path leads through images with a part of every orbit, unlike any set of few orbits. So slopes at sets
    of first orbits, of six shares in turn and scaled to length one, enter a running mean that starts with the scores.
    """

    def unit_length(values: Planes) -> Planes:
        return values / np.maximum(np.sqrt(np.square(values).sum((1, 2), keepdims=True)), np.finfo(float).tiny)

    order, least = unit_length(scores), 2 / np.prod(grafts.plane)
    for index in range(refinements):
        chosen = first_orbits(order, max(least, _REFINED_AT[index % len(_REFINED_AT)]))
        order = (1 - _NEW) * order + _NEW * unit_length(grafts.slopes(chosen))
    return order


def first_orbits(order: Planes, share: float) -> Masks:
    """Return the orbits of the largest values of each image within a share of the plane, in (0, 1]."""
    plane = order.shape[1], order.shape[2]
    chosen = masks.best(spectrum.per_orbit(order), spectrum.orbit_sizes(*plane), masks.budget(share, *plane))
    return chosen[:, spectrum.orbits(*plane)]


def _smallest(grafts: "BaselineGrafts", places: Int[np.ndarray, "n height width"]) -> Masks:
    """Return the fewest first orbits that keep the prediction: by bisection below the first power of two."""
    count = int(places.max()) + 1
    grid = np.array([0, *(2**power for power in range(count.bit_length()) if 2**power < count), count])
    keeps = np.stack([grafts.keep(places < number) for number in grid[:-1]] + [np.ones(len(places), bool)], axis=1)
    first = keeps.argmax(1)
    low, high = np.where(first > 0, grid[first - 1], -1), grid[first]
    while (is_open := high - low > 1).any():
        middle = (low + high) // 2
        middle_keeps = grafts.keep(places < middle[:, None, None])
        low = np.where(is_open & ~middle_keeps, middle, low)
        high = np.where(is_open & middle_keeps, middle, high)
    return places < high[:, None, None]


class BaselineGrafts:
    """Grafts of images, the donors, into baselines, the recipients: one of each, with masks of their own."""

    def __init__(self, model: Model, images: Images, baselines: Images):
        mesh, (height, width, _) = parallel.mesh(), model.image_shape
        self._model, self.images, self.baselines, self.plane = model, images, baselines, (height, width)
        _, replicated = parallel.layouts(mesh)
        self._params = jax.device_put(model.params, replicated)
        self._members = jax.device_put(patches.members(height, width, 1), replicated)
        self._grafted, self._logits, self._slopes = _programs(model, mesh)
        self._batch = min(_BATCH, len(images))

    def check_gradient(self) -> None:
        """Raise InputError for a model that JAX cannot differentiate."""
        model, image = self._model, jax.ShapeDtypeStruct((1, *self._model.image_shape), jnp.float32)
        try:
            jax.eval_shape(jax.grad(lambda image, params: model.apply(params, image).sum()), image, model.params)
        except Exception as error:  # of the caller's code; the cause stays attached
            got = f"{type(error).__name__} for its gradient ({one_line(error)})"
            raise InputError(f"model: got {got}; expected a function that JAX can differentiate") from error

    @functools.cached_property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The class that the model predicts for each image."""
        return self.logits(np.ones((len(self.images), *self.plane), bool)).argmax(-1).astype(np.int32)

    def logits(self, weights: Weights) -> Float[np.ndarray, "n classes"]:
        """Return the logits of baselines with this part, masks or in [0, 1], of their images' frequencies."""
        program = functools.partial(self._logits, self._params)
        return graft.in_batches(program, self._batch, self.images, self.baselines, weights)

    def grafted(self, masks: Bool[np.ndarray, "n height width"]) -> Images:
        """Return the baselines with these frequencies of their images."""
        return graft.in_batches(self._grafted, self._batch, self.images, self.baselines, masks)

    def keep(self, masks: Bool[np.ndarray, "n height width"]) -> Bool[np.ndarray, " n"]:
        """Return whether the model predicts the same for the grafts of masks as for the images."""
        return self.logits(masks).argmax(-1) == self.predicted

    def slopes(self, weights: Weights) -> Float[np.ndarray, "n height width"]:
        """Return the slope of the predicted class's log-odds at a graft as more of an orbit is put in, in nats."""
        program = functools.partial(self._slopes, self._params, self._members)
        grafts = self.images, self.baselines, weights.astype(np.float32)  # one program for masks and numbers
        slopes = graft.in_batches(program, self._batch, self.predicted, *grafts)
        if not np.isfinite(slopes).all():
            image = int(np.flatnonzero(~np.isfinite(slopes).all(1))[0])
            raise InputError(f"model: got a non-finite gradient on image {image}; expected finite ones")
        by_orbit = np.empty(slopes.shape)
        by_orbit[:, patches.orbit_numbers(*self.plane)] = slopes
        return by_orbit[:, spectrum.orbits(*self.plane)]


def _programs(model: Model, mesh: Mesh) -> tuple[Callable, Callable, Callable]:
    """Return jitted functions that split images over the mesh: grafts, their logits, and the slopes of each orbit."""
    apply, precision = model.apply, model.matmul_precision

    def logits(params: PyTree, *grafts: Shaped[Array, "n ..."]) -> Float[Array, "n classes"]:
        return apply(params, _grafted(*grafts)).astype(jnp.float32)

    def slopes(
        params: PyTree, members: Int[Array, "orbits one"], labels: Int[Array, " n"], *grafts: Shaped[Array, "n ..."]
    ) -> Float[Array, "n orbits"]:
        def log_odds(images: Float[Array, "n height width channels"]) -> Float[Array, " n"]:
            return graft.log_odds(apply(params, images), labels)

        images, baselines, _ = grafts
        return graft.patch_slopes(log_odds, _grafted(*grafts), images - baselines, members)

    def program(name: str, function: Callable, *split: bool) -> Callable:
        key = (f"graft {name}", precision, mesh)
        return cached_program(apply, key, lambda: over_devices(function, mesh, split, precision))

    return (
        program("image", _grafted, True, True, True),
        program("logits", logits, False, True, True, True),
        program("slopes", slopes, False, False, True, True, True, True),
    )


def _grafted(
    images: spectrum.Images, baselines: spectrum.Images, weights: Shaped[Array, "n height width"]
) -> spectrum.Images:
    return baselines + spectrum.filter_spectra(spectrum.spectra(images - baselines), weights[None])[0]
