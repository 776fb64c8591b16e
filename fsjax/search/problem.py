"""What every search method is given."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.image_selection import sample_of_class
from fsjax.data.preprocess import normalise
from fsjax.engine.model import Model
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a search is given.

    Attributes:
      model: the classifier that is searched.
      images: class index -> that class's images, normalised, always in the same order.
      counts: number of images of each class.
      classes: display names in index order.
      options: config.search.
      run: config.run.
      searched_on: 'train' or 'test'.
      provenance: JSON values that the maps carry.
      seed: of a method's random draws.
      directory: where partial results are stored; None = nowhere.
      metrics: where rates are written; None = nowhere.
      identity: names what partial results depend on beside the parameters and the config.
    """

    model: Model
    images: Callable[[int], Float[np.ndarray, "images height width channels"]]
    counts: tuple[int, ...]
    classes: tuple[str, ...]
    options: ConfigDict
    run: ConfigDict
    searched_on: str
    provenance: dict
    seed: int = 0
    directory: Path | None = None
    metrics: Metrics | None = None
    identity: str = ""

    @property
    def plane(self) -> tuple[int, int]:
        """(H, W)."""
        return self.model.image_shape[:2]

    @property
    def searched_model(self) -> Model:
        """The model at config.search.precision, with images filtered by config.search.transform."""
        return dataclasses.replace(self.model.at(self.options.precision), transform=self.options.transform)

    def attributes(self, forward_equivalents: int, **provenance: Any) -> dict[str, Any]:
        """Return the attributes of maps that `dfm.from_scores` and `dfm.from_classes` take, for any method.

        `provenance` has JSON values, which are added to those of the problem.
        """
        return {
            "classes": self.classes,
            "method": self.options.method,
            "searched_on": self.searched_on,
            "images": np.array(self.counts),
            "forward_equivalents": forward_equivalents,
            "provenance": {**self.provenance, **provenance},
        }

    def partial_results(self, layout: dict[str, int], folder: str = "") -> PartialResults:
        """Open the partial results of this search, in its directory or a folder of it, as `PartialResults`."""
        directory, save_seconds = self.directory and self.directory / folder, self.run.save_seconds
        return PartialResults(directory, layout, self.model.params, self.identity, save_seconds=save_seconds)


def of_dataset(
    classifier: Model, dataset: Dataset, *, options: ConfigDict, seed: int, searched_on: str, **others: Any
) -> Problem:
    """Return the search of a classifier on options.images_per_class images of each class of a data set.

    Args:
      classifier: of the same classes.
      dataset: images that are searched, drawn by the seed where a class has more.
      options: config.search.
      seed: of the images and the method's random draws.
      searched_on: 'train' or 'test'.
      **others: the other attributes of Problem.

    Raises:
      InputError: other classes, or a class without images.
    """
    classifier.check_classes(dataset.classes, f"data split {searched_on}")
    labels = range(len(dataset.classes))
    indices = [sample_of_class(dataset.labels, label, options.images_per_class, seed) for label in labels]
    for name, chosen in zip(dataset.classes, indices, strict=True):
        if not len(chosen):
            raise InputError(f"search: class {name!r} has no image in the searched split")
    return Problem(
        model=classifier,
        images=lambda label: np.asarray(normalise(dataset.images(indices[label]), *classifier.mean_std)),
        counts=tuple(len(chosen) for chosen in indices),
        classes=dataset.classes,
        options=options,
        searched_on=searched_on,
        seed=seed,
        **others,
    )
