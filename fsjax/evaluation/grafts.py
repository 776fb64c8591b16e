"""Graft the frequencies of maps into other classes' images, and count what the model says: one class after another."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.data.pairs import Pairs
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.graft import graft_model
from fsjax.engine.model import Model
from fsjax.evaluation.graft_masks import GraftMasks
from fsjax.evaluation.influence import Outcomes
from fsjax.fourier import spectrum
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress

# What of a donor's frequencies is grafted beside all of them: their amplitudes, their phases, or zeros.
CONTENTS = ("amplitude", "phase", "zeroed")


@dataclasses.dataclass(frozen=True, eq=False)
class GraftSample:
    """Images that pairs are drawn from.

    Attributes:
      images: indices -> normalised images.
      labels: class of each image.
      usable: indices of the images that no search has seen.
      tpr, fpr: of each class, unfiltered; NaN where there is no image to count.
      pairs: to draw for each class.
      seed: of all random draws.
      why_none: the reason where a class has too few usable images, for people.
    """

    images: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n height width channels"]]
    labels: Int[np.ndarray, " images"]
    usable: Int[np.ndarray, " usable"]
    tpr: Float[np.ndarray, " classes"]
    fpr: Float[np.ndarray, " classes"]
    pairs: int
    seed: int
    why_none: str


@dataclasses.dataclass(frozen=True, eq=False)
class ClassGrafts:
    """The outcomes of all pairs of a class.

    Attributes:
      masks: of the rows.
      others: outcomes of each row where the recipient's own class cannot be predicted.
      plain: the same where it can.
      contents: by the index of the share, whether the recipient is called the class when only one of CONTENTS of the
        map's frequencies is grafted: where its own class cannot be predicted, and where it can.
    """

    masks: GraftMasks
    others: Outcomes
    plain: Outcomes
    contents: dict[int, Bool[np.ndarray, "2 contents n"]]


def layout(model: Model, pairs: int, memory_mib: int) -> dict[str, int]:
    """Return the layout of `tile_size.layout` for the grafts of `pairs` pairs a class."""
    return tile_size.layout(graft_model(model), [3 * pairs], memory_mib=memory_mib)


def make_engine(model: Model, layout: dict[str, int]) -> Engine:
    """Return an engine for grafts, with the tile size of a layout."""
    return Engine(graft_model(model), statistics=("captured", "predicted_target"), tile_images=layout["tile_images"])


def measure(
    engine: Engine,
    sample: GraftSample,
    label: int,
    pairs: Pairs,
    make_masks: Callable[[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]], GraftMasks],
    tested: Int[np.ndarray, " shares"],
    partial_results: PartialResults,
    progress: Progress,
) -> ClassGrafts:
    """Graft under every mask of a class, in this process alone.

    Args:
      engine: of `make_engine`.
      sample: the images.
      label: of the class.
      pairs: one or more.
      make_masks: (energy of the class's images, of the differences of the pairs) -> its masks.
      tested: indices of the shares at which the contents of the map are grafted as well.
      partial_results: where outcomes are stored, and taken from.
      progress: counts masked images.
    """
    recipients, donors, partners = (sample.images(rows) for rows in (pairs.recipients, pairs.donors, pairs.partners))
    masks = make_masks(spectrum.energy(donors), spectrum.energy(donors - recipients))
    runs = Runs(engine, label, partial_results, progress)
    own = np.full(len(pairs), label)
    inputs = [(recipients, donors), (donors, partners), (donors, recipients)]
    of_labels = np.concatenate([sample.labels[pairs.recipients], own, own])
    captured, predicted = runs.outcomes("mask", inputs, of_labels, masks.masks)
    contents = {}
    if len(tested):
        amplitude = np.asarray(spectrum.recombine(jnp.asarray(donors), jnp.asarray(recipients)))
        phase = np.asarray(spectrum.recombine(jnp.asarray(recipients), jnp.asarray(donors)))
        inputs = [(recipients, content) for content in (amplitude, phase, np.zeros_like(donors))]
        rows = [masks.rows("map", share)[0] for share in tested.tolist()]
        of_labels = np.tile(sample.labels[pairs.recipients], len(CONTENTS))
        changed = runs.outcomes("content", inputs, of_labels, masks.masks[rows])
        contents = dict(zip(tested.tolist(), changed.swapaxes(0, 1), strict=True))

    def outcomes(said: Bool[np.ndarray, "masks 3 n"]) -> Outcomes:
        grafted, swapped, replaced = np.moveaxis(said, 1, 0)
        return Outcomes(said[0, 0], grafted, swapped, replaced, pairs.donors, pairs.recipients)

    return ClassGrafts(masks, outcomes(captured), outcomes(predicted), contents)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs grafts of one class on an engine, and stores the outcomes."""

    engine: Engine
    label: int
    partial_results: PartialResults
    progress: Progress

    def outcomes(
        self,
        name: str,
        inputs: list[tuple[np.ndarray, np.ndarray]],
        labels: Int[np.ndarray, " images"],
        masks: Bool[np.ndarray, "masks height width"],
    ) -> Bool[np.ndarray, "2 masks groups n"]:
        """Return whether each pair is captured, and whether it is predicted as the class, under each mask.

        `inputs` are groups of n pairs, (recipients, donors) each; labels are those of the recipients, group by group.
        """
        images = np.concatenate([np.stack(pair, 1) for pair in inputs])
        values = np.empty((2, len(images), len(masks)), np.float32)
        table = self.partial_results.table(self.label, values, name)
        missing = np.flatnonzero(np.isnan(values).any((0, 1)))
        self.progress.skip((len(masks) - len(missing)) * len(images))
        if len(missing):
            # One replicate an image: the weighted sums are the outcomes of single images.
            size = self.partial_results.layout["chunk"]
            batches = self.engine.image_batches(images, labels, np.eye(len(images), dtype=np.float32), size=size)
            targets = np.full(len(masks), self.label)
            tiles = self.engine.tiles(batches, masks, targets=targets, items=missing)
            both = ((items, np.stack([sums["captured"].T, sums["predicted_target"].T])) for items, sums in tiles)
            table.fill(both, lambda count: self.progress.update(count * len(images)))
        return (values > 0.5).transpose(0, 2, 1).reshape(2, len(masks), len(inputs), -1)
