"""Graft frequencies of a class into other classes' images, and the other way round; record the predictions."""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.data import selection
from fsjax.data.selection import Indices, Labels, Pairs
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model, graft_model
from fsjax.engine.tile import ImageBatch
from fsjax.evaluation.influence import Outcomes
from fsjax.fourier import spectrum
from fsjax.fourier.spectrum import Mask, Masks
from fsjax.runtime.partial_results import PartialResults, class_item
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

# Parts of a donor's frequencies that are grafted by themselves: amplitudes, phases, or zeros.
CONTENTS = ("amplitude", "phase", "zeroed")
# Grafts of a pair under a mask: into the recipient an image of its class, and the donor; into the donor another image
# of its class, and the recipient.
GRAFTS_A_PAIR = 4


@dataclasses.dataclass(frozen=True, eq=False)
class GraftSample:
    """Images that pairs are drawn from: `pairs` of each class, of those that no search has seen (`usable`).

    `tpr` and `fpr` are unfiltered, NaN where there is no image. `why_none` says why a class has too few usable images.
    """

    images: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n height width channels"]]
    labels: Labels
    usable: Int[np.ndarray, " usable"]
    tpr: Float[np.ndarray, " classes"]
    fpr: Float[np.ndarray, " classes"]
    pairs: int
    seed: int
    why_none: str

    @functools.cached_property
    def _by_class(self) -> dict[int, Indices]:
        return selection.images_by_class(self.labels, self.usable)

    def draw(self, label: int) -> Pairs:
        """Draw the pairs of a class; none where it has too few images."""
        return selection.draw_pairs(self._by_class, label, self.pairs, self.seed)


class Grafter:
    """Engine and storage for the grafts of a sample; memory_mib as in config.run.

    A restart computes only the outcomes that the directory lacks. Raises InputError for outcomes of another model.
    """

    def __init__(self, model: Model, sample: GraftSample, memory_mib: int, directory: Path | None):
        grafts = graft_model(model)
        layout = tile_size.layout(grafts, [GRAFTS_A_PAIR * sample.pairs], memory_mib=memory_mib)
        self.sample = sample
        # A tile has one mask, since masks are often asked for one by one.
        self.partial_results = PartialResults(directory, {"chunk": layout["chunk"]}, model.params)
        self.chunk = self.partial_results.layout["chunk"]
        self.engine = Engine(grafts, statistics=("captured",), tile_images=self.chunk)


class ClassGrafts:
    """Grafts of one class, of one pair or more, computed in this process alone.

    `base` says whether each recipient is predicted as the class as it is; `made` counts the grafts, stored ones too.
    """

    def __init__(self, grafter: Grafter, label: int, pairs: Pairs, progress: Progress):
        self.label, self._grafter, self._pairs, self._progress, self.made = label, grafter, pairs, progress, 0
        sample = grafter.sample
        self.recipients, self.donors = sample.images(pairs.recipients), sample.images(pairs.donors)
        self._recipient_labels = sample.labels[pairs.recipients]
        nothing = np.zeros((1, *self.donors.shape[1:3]), bool)
        alone = [(self.recipients, self.recipients)]
        self.base = self._predicted("base", nothing, lambda: self._place(alone, self._recipient_labels), 1)[0, 0]

    @functools.cached_property
    def _batches(self) -> list[ImageBatch]:
        """The pairs on the devices, in the order of GRAFTS_A_PAIR."""
        companions, partners = map(self._grafter.sample.images, (self._pairs.companions, self._pairs.partners))
        into_recipients = [(self.recipients, companions), (self.recipients, self.donors)]
        into_donors = [(self.donors, partners), (self.donors, self.recipients)]
        labels = np.concatenate([self._recipient_labels] * 2 + [np.full(2 * len(self._pairs), self.label)])
        return self._place(into_recipients + into_donors, labels)

    def outcomes(self, name: str, masks: Masks) -> Outcomes:
        """Return the outcomes of all pairs under masks, which are stored under this name."""
        disrupted, grafted, swapped, replaced = np.moveaxis(self._predicted(name, masks, lambda: self._batches), 1, 0)
        return Outcomes(disrupted, grafted, swapped, replaced, self._pairs.donors, self._pairs.recipients)

    def across_classes(self, name: str, mask: Mask, within: Outcomes) -> Outcomes:
        """Return the outcomes of all pairs under a mask, with those of grafts within a class taken from another mask.

        Such a mask differs little from the other, which has `within`.
        """
        inputs = [(self.recipients, self.donors), (self.donors, self.recipients)]
        labels = np.concatenate([self._recipient_labels, np.full(len(self._pairs), self.label)])
        grafted, replaced = self._predicted(name, mask[None], lambda: self._place(inputs, labels), 2).swapaxes(0, 1)
        return dataclasses.replace(within, grafted=grafted, replaced=replaced)

    def contents(self, name: str, mask: Mask) -> Bool[np.ndarray, "contents n"]:
        """Return whether each recipient is predicted as the class when only one of CONTENTS is grafted."""
        recipients, donors = jnp.asarray(self.recipients), jnp.asarray(self.donors)
        amplitude = np.asarray(spectrum.recombine(donors, recipients))
        phase = np.asarray(spectrum.recombine(recipients, donors))
        inputs = [(self.recipients, content) for content in (amplitude, phase, np.zeros_like(self.donors))]
        labels = np.tile(self._recipient_labels, len(CONTENTS))
        return self._predicted(name, mask[None], lambda: self._place(inputs, labels), len(CONTENTS))[0]

    def _place(self, inputs: list[tuple[np.ndarray, np.ndarray]], labels: Labels) -> list[ImageBatch]:
        """Put groups of n pairs, (recipients, donors) each, on the devices; labels are the recipients'."""
        images = np.concatenate([np.stack(pair, 1) for pair in inputs])
        # Each image is its own replicate: the weighted sums are the outcomes of single images. The shape is the same
        # for any number of groups, so that one program serves all.
        weights = np.eye(len(images), GRAFTS_A_PAIR * len(self._pairs), dtype=np.float32)
        return self._grafter.engine.image_batches(images, labels, weights, size=self._grafter.chunk)

    def _predicted(
        self,
        name: str,
        masks: Masks,
        place: Callable[[], list[ImageBatch]],
        groups: int = GRAFTS_A_PAIR,
    ) -> Bool[np.ndarray, "masks groups n"]:
        """Return whether the model predicts the class for each pair of some groups under each mask."""
        images = groups * len(self._pairs)
        self.made += images * len(masks)
        values = np.empty((GRAFTS_A_PAIR * len(self._pairs), len(masks)), np.float32)
        table = self._grafter.partial_results.table(f"{class_item(self.label)}/{name}", values)
        missing = np.flatnonzero(np.isnan(values).any(0))
        self._progress.skip((len(masks) - len(missing)) * images)
        if len(missing):
            targets = np.full(len(masks), self.label)
            tiles = self._grafter.engine.tiles(place(), masks, targets=targets, items=missing)
            captured = ((items, sums["captured"].T) for items, sums in tiles)
            table.fill(captured, lambda count: self._progress.update(count * images))
        return (values.T > 0.5).reshape(len(masks), GRAFTS_A_PAIR, -1)[:, :groups]
