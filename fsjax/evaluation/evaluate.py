"""The stage evaluate: rates unfiltered, under every class's map and its controls, and against planted frequencies."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.selection import first_of_each_class, sample_of_class
from fsjax.engine.model import Model
from fsjax.evaluation import judge_maps, rates, results, triggers
from fsjax.evaluation.agreement import agreement
from fsjax.evaluation.graft_results import Triggers
from fsjax.evaluation.rates import Filterer
from fsjax.evaluation.results import Evaluation, MapRates, MethodEvaluation, Recovery, Reliance
from fsjax.evaluation.typed_json import to_json
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import config_fields, files, parallel, storage
from fsjax.runtime.storage import Path

FIELDS: config_fields.Table = {
    "threshold": (0.6, "the published criterion: TPR under a class's map above this", "[0, 1]"),
    "pairs": (120, "pairs of images whose frequencies are grafted for the verdict on a class; 0 = no verdicts"),
    "trigger_size": (64, "longer side of the largest images that are searched for triggers; 0 = never"),
    "images_per_class": (0, "test images per class, drawn by seed, that rates are measured on; 0 = all"),
    "grid": ((), "further shares of the plane for TPR and FPR, such as 0.02,0.3, where maps have scores", "(0, 1]"),
    "grid_images": (100, "images of each class to measure the grid on, in their order; 0 = all"),
}


def run(config: ConfigDict, directory: Path, model: Model, maps: DominantFrequencyMaps, test: Dataset) -> None:
    """Write evaluation.json in a workdir, keeping the results of other search methods in it."""
    model.check_classes(test.classes, "data split test")
    file, folder = directory / "evaluation.json", directory / "grafts"
    before = results.read_evaluation(file)
    known = before.triggers if before else None
    evaluation = measure(config, model, maps, test, folder, known)
    methods = {**(before.methods if before else {}), **evaluation.methods}
    # Verdicts on other methods' maps may name a trigger, also where this evaluation was asked for none.
    merged = dataclasses.replace(evaluation, methods=methods, triggers=evaluation.triggers or known)

    def write() -> None:
        files.write_json(file, merged.to_json())
        storage.remove(folder)

    parallel.decide(write)


def measure(
    config: ConfigDict,
    model: Model,
    maps: DominantFrequencyMaps,
    test: Dataset,
    folder: Path | None,
    known: Triggers | None = None,
) -> Evaluation:
    """Measure maps on the test images, with partial results in the folder. Collective: every process must call this.

    `known` are triggers from another method's evaluation, which are not measured again for the same model and images.
    """
    agrees = agreement(config, model, maps, test)
    model = model.at(config.search.precision, config.search.transform)
    per_class, labels = config.evaluate.images_per_class, range(len(test.classes))
    drawn = [sample_of_class(test.labels, label, per_class, config.seed) for label in labels]
    rated = test.subset(np.sort(np.concatenate(drawn)))
    directory = folder and folder / "rates"
    filterer = Filterer(model, len(rated), config.run.memory_mib, directory, seed=config.seed)
    unfiltered = rates.evaluate_unfiltered(model, rated, filterer.partial_results)
    usable = judge_maps.unseen(config, maps, test)
    shares, grid = _map_rates(filterer, rated, maps.shares, maps.masks, "evaluate"), {}
    if further := rates.grid_shares(maps, tuple(config.evaluate.grid)):
        first = rated.subset(first_of_each_class(rated.labels, config.evaluate.grid_images))
        masks = np.stack([rates.masks_at(maps, share) for share in further])
        grid = _map_rates(filterer, first, further, masks, "evaluate other shares")
    truth = results.planted_positions(test.planted) if test.planted else np.zeros(maps.masks.shape[1:], bool)
    planted = {}
    if maps.scores is not None:
        ranked = zip(test.classes, maps.scores, truth, strict=True)
        planted = {name: recovery(scores, orbits) for name, scores, orbits in ranked if orbits.any()}
    found = _triggers(config, model, test, folder, known)
    method = MethodEvaluation(
        searched_on=maps.searched_on,
        forward_equivalents=maps.forward_equivalents,
        shares=shares,
        grid=grid,
        planted=planted,
        grafts=judge_maps.judge_maps(config, model, maps, test, unfiltered, usable, folder, found),
        agreement=agrees,
    )
    return Evaluation(
        classes=tuple(test.classes),
        images=np.bincount(rated.labels, minlength=len(test.classes)),
        unfiltered=unfiltered,
        methods={maps.method: method},
        planted=measure_reliance(filterer, rated, truth),
        triggers=found,
    )


def seeks_triggers(config: ConfigDict, classes: int, plane: tuple[int, ...]) -> bool:
    """Return whether an evaluation of this many classes measures triggers on a plane."""
    return bool(config.evaluate.pairs) and classes > 1 and max(plane) <= config.evaluate.trigger_size


def _triggers(
    config: ConfigDict, model: Model, test: Dataset, folder: Path | None, known: Triggers | None
) -> Triggers | None:
    if not seeks_triggers(config, len(test.classes), model.image_shape[:2]):
        return None
    return triggers.measure(
        model,
        lambda rows: normalise(test.images(rows), *model.mean_std),
        test.labels,
        len(test.classes),
        seed=config.seed,
        memory_mib=config.run.memory_mib,
        folder=folder,
        known=known,
    )


def _map_rates(
    filterer: Filterer,
    test: Dataset,
    shares: tuple[float, ...],
    masks: Bool[np.ndarray, "shares classes height width"],
    label: str,
) -> dict[str, MapRates]:
    measured = zip(shares, filterer.rates(test, masks, label), masks.sum((2, 3)), strict=True)
    return {
        f"{share:g}": MapRates(**vars(at), positions=positions, kept=positions / masks[0, 0].size)
        for share, at, positions in measured
    }


def measure_reliance(
    filterer: Filterer, test: Dataset, truth: Bool[np.ndarray, "classes height width"]
) -> dict[str, Reliance]:
    """Return the TPR of each class with planted orbits without them and with them alone. Collective."""
    labels = np.flatnonzero(truth.any((1, 2)))
    if not test.planted or not len(labels):
        return {}
    masks, nothing = np.stack([~truth[labels], truth[labels]]), np.zeros(0, int)
    right, _ = filterer.counts(test, masks, labels, nothing, "evaluate planted")
    sizes = np.bincount(test.labels, minlength=len(test.classes))
    return {
        test.classes[label]: Reliance(bool(test.planted["fixed"][label].any()), tpr_without=without, tpr_alone=alone)
        for label, without, alone in zip(labels, *to_json(rates.ratio(right, sizes[labels])), strict=True)
    }


def recovery(scores: Float[np.ndarray, "height width"], planted: Bool[np.ndarray, "height width"]) -> Recovery:
    """Return precision and recall, which are equal, of as many best orbits as are planted, and average precision."""
    order = np.argsort(-spectrum.per_orbit(scores), kind="stable")
    is_planted = spectrum.per_orbit(planted)[order]
    count = int(is_planted.sum())
    hits, ranks = int(is_planted[:count].sum()), np.flatnonzero(is_planted) + 1
    return Recovery(
        planted_orbits=count,
        found=hits,
        precision=hits / count,
        recall=hits / count,
        average_precision=float(np.mean(np.arange(1, count + 1) / ranks)),
        chance=count / len(order),
    )
