"""How many images of other sets, corrupted or attacked, a classifier predicts correctly: no maps, no controls."""

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.ood import sets
from fsjax.evaluation.ood.counts import Counts, count_parts, rates
from fsjax.evaluation.ood.judging import make_plain_counter
from fsjax.evaluation.ood.sets import Part, Set
from fsjax.runtime.storage import Path


def accuracies(
    config: ConfigDict, directory: Path, classifier: Model, test: Dataset, identity: dict
) -> dict[str, float]:
    """Return the accuracy on each set that config.ood names, by its name. Collective: processes share the images.

    Args:
      config: of the run.
      directory: where counts are stored, so that a restart counts only the rest.
      classifier: that predicts.
      test: test images, which are corrupted and attacked.
      identity: JSON values that identify the classifier: counts of another one are not used.
    """
    classes, nothing = len(classifier.classes), np.zeros(len(classifier.classes), np.int64)

    def of_set(image_set: Set) -> float:
        count_plain = make_plain_counter(classifier, image_set)

        def count(part: Part) -> Counts:
            images = part.open()
            matrix = count_plain(images)
            right, called = np.stack([np.diag(matrix), nothing]), np.stack([matrix.sum(0), nothing])
            return Counts(np.bincount(images.labels, minlength=classes), right, called, np.zeros((0, classes), int))

        fields = {"images_per_class": config.ood.images_per_class, "part": sets.PART}
        made_of = {**identity, **fields, "set": image_set.made_of}
        file = directory / f"{sets.file_name(image_set.name)}.json"
        return rates(count_parts(image_set, file, made_of, (5, classes), lambda: count), {}).accuracy

    opened = (open_set() for open_set in sets.openers(config, classifier, test))
    return {image_set.name: of_set(image_set) for image_set in opened}
