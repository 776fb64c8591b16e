"""Agreement of predictions in a lower precision with predictions in float32 'highest'."""

import dataclasses
import logging

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation.statistics import wilson
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.random_streams import Stream, generator

logger = logging.getLogger(__name__)

# Most images, and most classes whose maps filter each of them.
_IMAGES, _MASKS = 64, 16


@dataclasses.dataclass(frozen=True, eq=False)
class Agreement:
    """The share of filtered test images with the same prediction in a precision and in 'highest', with its interval."""

    precision: str
    images: int
    share: float
    share_ci: Float[np.ndarray, "2"]


def agreement(config: ConfigDict, model: Model, maps: DominantFrequencyMaps, test: Dataset) -> Agreement | None:
    """Predict some images under some classes' maps in config.search.precision and in 'highest'; None for 'highest'."""
    precision, transform = config.search.precision, config.search.transform
    if precision == "highest":
        return None
    rng = generator(config.seed, Stream.PRECISION_CHECK, len(maps.classes))
    rows = np.sort(rng.permutation(len(test))[:_IMAGES])
    masks = maps.at(maps.nearest(config.report.share))[rng.permutation(len(maps.classes))[:_MASKS]]
    images = normalise(test.images(rows), *model.mean_std)

    def predictions(model: Model) -> np.ndarray:
        size = tile_size.fit(model, resident_images=len(rows), memory_mib=config.run.memory_mib)
        engine = Engine(model, statistics=("predicted",), tile_images=size)
        batches = engine.image_batches(images, test.labels[rows], np.eye(len(rows), dtype=np.float32))
        return engine.sums(batches, masks)["predicted"].argmax(-1)

    same = predictions(model.at(precision, transform)) == predictions(model.at("highest"))
    found = Agreement(precision, same.size, float(same.mean()), wilson(np.array(same.sum()), np.array(same.size)))
    logger.info("evaluate: %s", in_words(found))
    return found


def in_words(agreement: Agreement) -> str:
    """Return the agreement as a sentence."""
    low, high = 100 * agreement.share_ci
    return (
        f"Judged in {agreement.precision}; of {agreement.images:,} filtered test images, computed again in float32 "
        f"'highest', {100 * agreement.share:.1f} % have the same prediction (95 % interval {low:.1f} to {high:.1f})."
    )
