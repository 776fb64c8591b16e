"""The maps alone: one of the searches on any model that `analyse` takes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from fsjax import search
from fsjax.data.dataset import ArrayDataset
from fsjax.data.splits import count_classes, normalised_images
from fsjax.engine.model import NORMALISED
from fsjax.fourier import dfm
from fsjax.models.callables import as_model
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search.method import make_problem, search_identity


def dominant_frequencies(
    logits_fn: Any,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    method: str = "removal",
    patch: int = 1,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    resamples: int = -1,
    classes: Sequence[str] | None = None,
    precision: str = "highest",
    seed: int = 0,
    directory: str | Path | None = None,
    memory_mib: int = 0,
    save_seconds: int | float = 30,
    searched_on: str = "train",
    **fields: Any,
) -> dfm.DominantFrequencyMaps:
    """Find the dominant frequency maps of a classifier with one of the search methods.

    Collective: in several processes every one calls this with the same arguments, takes its share of the work and
    returns the same maps.

    Args:
      logits_fn: images [n, H, W, C] float32, for any n -> logits [n, K], K >= num_classes, of each image by itself; JAX
        can trace it. Or another model that `analyse` takes. The arrays it closes over become arguments of the compiled
        program, so other weights do not trigger recompilation.
      images: [n, H, W, C] as logits_fn takes them: normalised, where it wants that. Any height, width and channels.
      labels: [n], class index of each image, in [0, num_classes); every class has an image.
      num_classes: how many classes are searched.
      method: a name of fsjax.search.SEARCHES. `removal` with compat=True sorts the images by class.
      patch: side of the square of frequencies removed together; divides height and width.
      shares: of the plane that the maps keep, in (0, 1]; where the method has patches, each has room for one with its
        conjugate, which a share of 0.01 lacks below 15 x 15.
      resamples: bootstrap resamples of the images; the provenance compares their maps with these under "stability".
        -1 = 20 for removal and graft, at no extra cost; the other methods have none.
      classes: names in index order; default '0', '1', ...
      precision: 'highest' (float32) or 'tensorfloat32', whose agreement with 'highest' stands in the maps' provenance.
      seed: of the method's random draws.
      directory: of partial results, from which a restart resumes; tied to the images, the labels and the weights.
      memory_mib: of a device, for the images, the weights and a tile; 0 = chosen.
      save_seconds: between two partial results.
      searched_on: 'train' or 'test', recorded in the maps.
      **fields: the method's own, such as steps=100: those of config.search under its name.

    Raises:
      InputError: a ValueError that names what cannot be used.

    Examples:
      >>> maps = fsjax.dominant_frequencies(model, images, labels, num_classes=3, classes=names, shares=(0.05, 0.2))
      >>> maps.masks.shape, maps.positions[0].tolist()  # of 64 positions, at the first share, by class
      ((2, 3, 8, 8), [3, 3, 2])
      >>> np.argwhere(maps.scores[1] > 0.1).tolist()  # nats, on the centred plane: DC is at (4, 4)
      [[1, 2], [7, 6]]
    """
    if precision == "bfloat16":
        raise InputError("precision: got 'bfloat16', which is up to the callable; expected highest, tensorfloat32")
    if memory_mib < 0:
        raise InputError(f"memory_mib: got {memory_mib}; expected 0 or more")
    images, labels = normalised_images(images, "images"), np.asarray(labels)
    count_classes(labels, len(images), num_classes)
    names = tuple(classes) if classes is not None else tuple(str(label) for label in range(num_classes))
    if len(names) != num_classes:
        raise InputError(f"classes: got {len(names)} names; expected {num_classes}, one a class")
    options = search.options(
        method,
        patch=patch,
        split=searched_on,
        precision=precision,
        images_per_class=0,
        shares=tuple(shares),
        resamples=resamples,
        **fields,
    )
    search.check(options, images.shape[1:3])
    dataset = ArrayDataset(images, labels, names)
    model = as_model(logits_fn, images, num_classes, "logits_fn")
    return search.run(
        make_problem(
            dataclasses.replace(model, classes=names, mean_std=NORMALISED),
            dataset,
            options=options,
            seed=seed,
            searched_on=searched_on,
            run=ConfigDict({"memory_mib": memory_mib, "save_seconds": float(save_seconds)}),
            provenance={},
            directory=storage.path(directory) if directory is not None else None,
            identity=search_identity(options, seed, dataset),
        )
    )
