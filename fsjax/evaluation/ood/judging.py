"""The stage ood: accuracy, TPR and FPR on other sets, under corruptions and attacks, beside the test images."""

import dataclasses
import logging

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.ood import corruptions, results, sets
from fsjax.evaluation.ood.counting import Counter
from fsjax.evaluation.ood.results import ControlRates, InDistribution, OodResult, SetRates, SetResult, average_tpr
from fsjax.evaluation.ood.sets import Set
from fsjax.evaluation.rates import class_rates, ratio, unfiltered_rates
from fsjax.evaluation.results import Rates, read_method
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of config.ood that cannot be used, and for missing folders."""
    folder_sets, attacks = sets.parse(config)
    if not folder_sets and not attacks and not corruptions.parse(config.ood.corruptions):
        expected = "MAPPING=ROOT, an attack such as fgsm:4/255, or corruptions, separated by commas"
        raise InputError(f"ood.sets, ood.attacks, ood.corruptions: got nothing; expected {expected}")
    for folder_set in folder_sets:
        folder_set.places(config.data)


def run(
    config: ConfigDict, directory: Path, model: Model, maps: DominantFrequencyMaps, test: Dataset, identity: dict
) -> None:
    """Write ood/<method>.json in an evaluated workdir, about the maps nearest to config.report.share.

    A restart counts only the rest. `identity` are JSON values that identify model and maps. Collective.
    """
    counter, folder = Counter(config, model, test, maps), directory / "ood" / maps.method
    evaluation = read_method(directory / "evaluation.json", maps.method)
    share, unfiltered, controls = maps.nearest(config.report.share), evaluation.unfiltered, None
    filtered = evaluation.methods[maps.method].at(share)
    if counter.controls:
        counts = counter.count(sets.open_test(config, test), folder, identity, controls_only=True)
        controls = _rates(counter, counts).controls
    own = InDistribution(
        images=evaluation.images,
        accuracy=unfiltered.accuracy,
        unfiltered=unfiltered_rates(unfiltered.confusion, evaluation.images),
        filtered=Rates(*(getattr(filtered, field.name) for field in dataclasses.fields(Rates))),
        controls=controls,
        average_tpr=average_tpr(filtered.tpr, filtered.tpr, unfiltered.tpr),
    )
    judged = {}
    for image_set in sets.open_all(config, model, test):
        counts = counter.count(image_set, folder, identity)
        judged[image_set.name] = result = _summarise(counter, image_set, counts, own.filtered.tpr)
        logger.info("ood: %s: accuracy %.3f on %d images", image_set.name, result.accuracy, result.images.sum())
    content = OodResult(
        classes=tuple(model.classes),
        share=share,
        threshold=config.evaluate.threshold,
        random_masks=config.ood.random_masks,
        searched_on=maps.searched_on,
        in_distribution=own,
        sets=judged,
    )
    if parallel.is_main_process():
        files.write_json(results.result_file(directory, maps.method), content.to_json())


def accuracies(config: ConfigDict, folder: Path, model: Model, test: Dataset, identity: dict) -> dict[str, float]:
    """Return a model's accuracy on each set that config.ood names, without maps. Collective.

    `folder` holds partial results; `identity` are JSON values that identify the model.
    """
    counter = Counter(config, model, test)
    return {
        image_set.name: _rates(counter, counter.count(image_set, folder, identity)).accuracy
        for image_set in sets.open_all(config, model, test)
    }


def _summarise(
    counter: Counter,
    image_set: Set,
    counts: Int[np.ndarray, "parts rows classes"],
    grouping: Float[np.ndarray, " classes"],
) -> SetResult:
    """Return the rates of a set and its groups; `grouping` are in-distribution TPRs under the maps."""

    def rates(chosen: dict[str, str]) -> SetRates:
        parts = [index for index, part in enumerate(image_set.parts) if chosen.items() <= part.groups.items()]
        places = {tuple(image_set.parts[index].groups.values()) for index in parts}
        return _rates(counter, counts[parts], len(places) if image_set.repeated else 1)

    total = rates({})
    return SetResult(
        **vars(total),
        average_tpr=average_tpr(grouping, total.filtered.tpr, total.unfiltered.tpr),
        restricted=image_set.restrict,
        made_of=image_set.made_of,
        groups={
            placeholder: {folder: rates({placeholder: folder}) for folder in folders}
            for placeholder, folders in image_set.groups.items()
        },
    )


def _rates(counter: Counter, counts: Int[np.ndarray, "parts rows classes"], copies: int = 1) -> SetRates:
    """Return the rates of some parts of a set; a class without images has none.

    `copies` images show the same picture; intervals count a picture once.
    """
    total = dict(zip(counter.rows, counts.sum(0), strict=True))
    images = total["images"]
    others, pooled = (np.where(images > 0, count, 0) for count in (images.sum() - images, total["filtered_others"]))
    controls = None
    if counter.controls:
        tpr = {kind: ratio(total[kind], images * masks) for kind, masks in counter.controls.items()}
        controls = ControlRates(**{"radial_tpr": np.full(len(images), np.nan), **tpr})
    return SetRates(
        images=images,
        accuracy=float(total["right"].sum() / images.sum()),
        unfiltered=class_rates(total["right"], total["wrong"], images, others, copies),
        filtered=class_rates(total["filtered_right"], total["filtered_wrong"], images, pooled, copies),
        controls=controls,
    )
