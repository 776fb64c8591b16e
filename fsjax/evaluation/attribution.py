"""Which frequencies decided single images: a ranking of each image's orbits, and the sets that keep its prediction."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.model import Model
from fsjax.evaluation import statistics
from fsjax.evaluation.baseline_grafts import BaselineGrafts
from fsjax.fourier import masks, spectrum
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator

# A value, or whether it is chosen, for each position of each image's plane.
Planes = Float[np.ndarray, "n height width"]
Masks = Bool[np.ndarray, "n height width"]

SHARES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
# Shares of the sets at which the order is refined, in turn, and the weight of a new slope in its mean.
_REFINED_AT, _NEW = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16), 0.1


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The frequencies that decided single images.

    Attributes:
      predicted: the class that the model predicts for each image.
      baseline_predicted: the same for each image's baseline; where both agree, the empty set keeps the prediction.
      scores: nats, constant on orbits. Their sum over an image's orbits is the log-odds of `predicted` at the image
        less the log-odds at its baseline, up to the error of the path's steps.
      places: place of each position's orbit in the image's order, 0 the first; constant on orbits.
      shares: of the plane, in (0, 1].
      kept: whether the model predicts `predicted` for the baseline with the image's first orbits within each share
        (insertion), by order: "attribution", "energy" (of the difference between image and baseline), "random".
      kept_without: the same for the image with the baseline's frequencies there (deletion), by order.
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
        """Return how many more predictions the attribution keeps than another order, in [-1, 1] at each share.

        Images are resampled for the 95 % intervals of the paired differences.
        """
        differences = self.kept["attribution"].astype(float) - self.kept[over]
        return differences.mean(0), statistics.bootstrap_interval(differences)


def attribute(
    model: Model,
    images: Float[np.ndarray, "n height width channels"],
    baselines: Float[np.ndarray, "n height width channels"],
    *,
    shares: Sequence[float] | None = None,
    steps: int = 8,
    refinements: int = 24,
    seed: int = 0,
) -> Attribution:
    """Rank each image's orbits by their share of the predicted class's log-odds on the way from its baseline.

    An image takes 3 (steps + refinements) forward equivalents, beside the forward passes of the curves.

    Args:
      model: the classifier, of two or more outputs.
      images: normalised, as the model takes them.
      baselines: one an image.
      shares: of the plane, of the sets on the curves; None = the SHARES that hold an orbit.
      steps: points of the straight path at which `scores` are taken.
      refinements: slopes that refine the order; 0 = the order of the scores.
      seed: of the random order.

    Raises:
      InputError: shares outside (0, 1] or that hold no orbit, no step, or a gradient that is not finite.
      interrupt.Terminated: SIGTERM came.
    """
    shares = _checked(shares, model.image_shape[:2], steps, refinements)
    grafts = BaselineGrafts(model, images, baselines)
    return attribute_grafts(grafts, shares, steps=steps, refinements=refinements, seed=seed)


def attribute_grafts(
    grafts: BaselineGrafts, shares: Sequence[float], *, steps: int = 8, refinements: int = 24, seed: int = 0
) -> Attribution:
    """Return the attribution of the images and baselines of grafts, as `attribute` does."""
    shape = len(grafts.images), *grafts.plane
    # The integrated gradient of each orbit on the straight path from baseline to image.
    slopes = [grafts.slopes(np.full(shape, (step + 0.5) / steps, np.float32)) for step in range(steps)]
    scores = np.mean(slopes, axis=0)
    energy = np.stack([spectrum.energy(difference[None]) for difference in grafts.images - grafts.baselines])
    random = [generator(seed, Stream.ATTRIBUTION_ORDER, index).random(grafts.plane) for index in range(len(scores))]
    orders = {"attribution": refine(grafts, scores, refinements), "energy": energy, "random": np.stack(random)}
    kept, kept_without = {}, {}
    for name, order in orders.items():
        sets = [first_orbits(order, share) for share in shares]
        kept[name] = np.stack([grafts.keep(chosen) for chosen in sets], axis=1)
        kept_without[name] = np.stack([grafts.keep(~chosen) for chosen in sets], axis=1)
    places = _places(orders["attribution"])
    return Attribution(
        predicted=grafts.predicted,
        baseline_predicted=grafts.baseline_predicted,
        scores=scores.astype(np.float32),
        places=places,
        shares=tuple(shares),
        kept=kept,
        kept_without=kept_without,
        smallest=_smallest(grafts, places),
    )


def default_shares(plane: tuple[int, int]) -> tuple[float, ...]:
    """Return the SHARES that hold an orbit of a plane (H, W)."""
    return tuple(share for share in SHARES if share >= _orbit_share(plane))


def _orbit_share(plane: tuple[int, int]) -> float:
    return 2 / (plane[0] * plane[1])


def _checked(shares: Sequence[float] | None, plane: tuple[int, int], steps: int, refinements: int) -> tuple[float, ...]:
    """Return the shares of the curves; raise InputError for arguments of `attribute` that cannot be used."""
    least = _orbit_share(plane)
    shares = default_shares(plane) if shares is None else shares
    for share in shares:
        if not least <= share <= 1:
            raise InputError(f"shares: got {share}; expected {least:.3g}, which is one orbit, to 1")
    for name, value, lowest in (("shares", len(shares), 1), ("steps", steps, 1), ("refinements", refinements, 0)):
        if value < lowest:
            raise InputError(f"{name}: got {value}; expected {lowest} or more")
    return tuple(shares)


def refine(grafts: BaselineGrafts, scores: Planes, refinements: int) -> Planes:
    """Return an order of the orbits, largest first, whose first orbits keep more predictions than the scores' order.

    The straight path leads through images with a part of every orbit, unlike any set of few orbits. So slopes are taken
    at such sets: at baselines with the first orbits of the image, within six shares in turn. The slopes, each scaled to
    length one, enter a running mean that starts with the scores.
    """
    order, least = _unit_length(scores), _orbit_share(grafts.plane)
    for index in range(refinements):
        chosen = first_orbits(order, max(least, _REFINED_AT[index % len(_REFINED_AT)]))
        order = (1 - _NEW) * order + _NEW * _unit_length(grafts.slopes(chosen))
    return order


def _unit_length(values: Planes) -> Planes:
    return values / np.maximum(np.sqrt(np.square(values).sum((1, 2), keepdims=True)), np.finfo(float).tiny)


def first_orbits(order: Planes, share: float) -> Masks:
    """Return the orbits of the largest values of each image within a share of the plane, in (0, 1]."""
    plane = order.shape[1], order.shape[2]
    chosen = masks.best(spectrum.per_orbit(order), spectrum.orbit_sizes(*plane), masks.budget(share, *plane))
    return chosen[:, spectrum.orbits(*plane)]


def _places(order: Planes) -> Int[np.ndarray, "n height width"]:
    """Return the place of each position's orbit, best first."""
    best_first = np.argsort(-spectrum.per_orbit(order), axis=1, kind="stable")
    return np.argsort(best_first, axis=1).astype(np.int32)[:, spectrum.orbits(*order.shape[1:])]


def _smallest(grafts: BaselineGrafts, places: Int[np.ndarray, "n height width"]) -> Masks:
    """Return first orbits that keep the prediction, where one fewer do not: by bisection below the first power of two.

    All orbits make the image itself, and keep it.
    """
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
