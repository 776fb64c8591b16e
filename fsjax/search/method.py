"""The interface of a search method: its entry in the registry (`Method`) and its input (`Problem`)."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.selection import sample_of_class
from fsjax.engine.model import Model
from fsjax.fourier import masks
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.storage import Path

Planes: TypeAlias = Float[np.ndarray, "classes height width"]
MaskRule: TypeAlias = Callable[[Float[np.ndarray, "height width"], float], Bool[np.ndarray, "height width"]]


@dataclasses.dataclass(frozen=True)
class Problem:
    """The classifier, images and options of one search.

    Attributes:
      images: class index -> that class's images, normalised, always in the same order.
      counts: number of images of each class.
      options, run: config.search and config.run.
      searched_on: 'train' or 'test'.
      provenance: JSON values that the maps carry.
      directory: folder of partial results; None stores none.
      identity: everything that partial results depend on beside the parameters and the config.
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
        return self.model.image_shape[:2]

    @property
    def searched_model(self) -> Model:
        """The model at config.search.precision, with images filtered by config.search.transform."""
        return self.model.at(self.options.precision, self.options.transform)

    def attributes(self, forward_equivalents: int, **provenance: Any) -> dict[str, Any]:
        """Return the attributes of maps for `dfm.from_scores` and `dfm.from_classes`, with further provenance."""
        return {
            "classes": self.classes,
            "method": self.options.method,
            "searched_on": self.searched_on,
            "images": np.array(self.counts),
            "forward_equivalents": forward_equivalents,
            "provenance": {**self.provenance, **provenance},
        }

    def partial_results(self, layout: dict[str, int], folder: str = "") -> PartialResults:
        """Open the partial results of this search, in its directory or in a folder there."""
        directory, save_seconds = self.directory and self.directory / folder, self.run.save_seconds
        return PartialResults(directory, layout, self.model.params, self.identity, save_seconds=save_seconds)


@dataclasses.dataclass(frozen=True)
class Method:
    """The entry of a search method in the registry.

    Attributes:
      search: returns the maps, as `fsjax.search.run` does. Collective.
      defaults: the method's own fields of config.search, under its name, as a table of `config_fields`.
      check: raises InputError for fields of config.search that cannot be used on a plane (H, W).
      forward_passes: (config.search, images of each class, plane) -> forward passes of a search.
      gradients: whether these are gradients, each counted as three.
      reads: config.search -> external files that its result depends on.
      patches: whether it uses config.search.patch.
      whole_patches: whether `patch_maps.cut` makes its maps: unions of whole patches, with bootstrap resamples.
      scored: what its scores measure, for a title.
      drawable: scores -> values of a figure: signed, and NaN where it is blank.
      mask: (scores of a class, share in (0, 1]) -> its mask, for patches of size 1.
      compat: the variant that config.search.<name>.compat selects; None = the search itself handles that field.
    """

    search: Callable[[Problem], DominantFrequencyMaps]
    defaults: Table = dataclasses.field(default_factory=dict)
    check: Callable[[ConfigDict, tuple[int, int]], None] = lambda options, plane: None
    forward_passes: Callable[[ConfigDict, tuple[int, ...], tuple[int, int]], int] = lambda options, counts, plane: 0
    gradients: bool = False
    reads: Callable[[ConfigDict], list[Path]] = lambda options: []
    patches: bool = False
    whole_patches: bool = False
    scored: str = "Rise of the class's loss when a frequency is removed (nats)"
    drawable: Callable[[Planes], Planes] = lambda scores: scores
    mask: MaskRule = masks.within_share
    compat: "Method | None" = None


def make_problem(
    classifier: Model, dataset: Dataset, *, options: ConfigDict, seed: int, searched_on: str, **others: Any
) -> Problem:
    """Return the search of a classifier on options.images_per_class images of each class, which the seed draws.

    `others` are further attributes of Problem. Raises InputError for other classes, or a class without images.
    """
    classifier.check_classes(dataset.classes, f"data split {searched_on}")
    labels = range(len(dataset.classes))
    indices = [sample_of_class(dataset.labels, label, options.images_per_class, seed) for label in labels]
    for name, chosen in zip(dataset.classes, indices, strict=True):
        if not len(chosen):
            raise InputError(f"search: class {name!r} has no image in the searched split")
    return Problem(
        model=classifier,
        images=lambda label: normalise(dataset.images(indices[label]), *classifier.mean_std),
        counts=tuple(len(chosen) for chosen in indices),
        classes=dataset.classes,
        options=options,
        searched_on=searched_on,
        seed=seed,
        **others,
    )


def search_identity(options: ConfigDict, seed: int, dataset: Dataset) -> str:
    """Return a digest of everything that partial results of a search depend on, but the parameters of the model."""
    own = options.get(options.method)
    shape = (len(dataset), *dataset.images([0]).shape[1:])
    settings = (options.method, options.patch, options.precision, options.transform, seed, own and own.to_dict(), shape)
    return hashlib.sha256(repr(settings).encode() + dataset_digest(dataset)).hexdigest()


def dataset_digest(dataset: Dataset) -> bytes:
    """Return a digest of the labels, and of the images or the names of their files."""
    digest = hashlib.sha256()
    if isinstance(dataset, ArrayDataset):
        digest.update(np.ascontiguousarray(dataset.images(np.arange(len(dataset)))).tobytes())
    digest.update("\n".join(dataset.names).encode(errors="surrogateescape"))
    digest.update(dataset.labels.astype(np.int64).tobytes())
    return digest.digest()
