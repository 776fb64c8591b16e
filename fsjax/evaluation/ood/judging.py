"""The stage ood: accuracy, TPR and FPR on other sets, under corruptions and attacks, beside those in distribution."""

import dataclasses
import functools
import logging
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset, Images
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation.control_masks import ENERGY_IMAGES, mask_counts, pack_controls
from fsjax.evaluation.evaluate import make_engine
from fsjax.evaluation.ood import corruptions, sets
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.evaluation.ood.counts import Counts, control_rates, count_parts, rates
from fsjax.evaluation.ood.results import ControlRates, InDistribution, OodResult, SetRates, SetResult, result_file
from fsjax.evaluation.ood.sets import Part, Set
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.rates import confusion_matrix, predicted_counts
from fsjax.evaluation.results import Evaluation, Rates, read_method
from fsjax.evaluation.statistics import wilson
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import budget
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of config.ood that cannot be used, and for folders that are not as it says."""
    folder_sets, attacks = sets.parse(config)
    if not folder_sets and not attacks and not corruptions.parse(config.ood.corruptions):
        raise InputError(
            "ood.sets, ood.attacks, ood.corruptions: got nothing; expected MAPPING=ROOT, an attack such as fgsm:4/255, "
            "or corruptions, separated by commas"
        )
    for field in ("images_per_class", "random_masks"):
        if config.ood[field] < 0:
            raise InputError(f"ood.{field}: got {config.ood[field]}; expected 0 or more")
    for folder_set in folder_sets:
        sets.places(folder_set, config.data)


def run(
    config: ConfigDict,
    directory: Path,
    classifier: Model,
    maps: DominantFrequencyMaps,
    test: Dataset,
    identity: dict,
) -> None:
    """Write ood/<method>.json in an evaluated workdir; what an earlier run has counted is not counted again.

    Maps are those at the share nearest to config.report.share. The identity is JSON values that identify the classifier
    and the maps: counts of another one are not used.
    """
    judge = Judge(config, classifier, maps, test)
    evaluation = read_method(directory / "evaluation.json", maps.method)

    def count(image_set: Set, make_counter: Callable[[Set], Callable[[Part], Counts]]) -> list[Counts]:
        file = directory / "ood" / maps.method / f"{sets.file_name(image_set.name)}.json"
        made_of = identity | judge.made_of(image_set)
        return count_parts(image_set, file, made_of, judge.count_shape, functools.partial(make_counter, image_set))

    controls = None
    if judge.mask_counts:
        controls = control_rates(count(sets.open_test(config, test), judge.make_control_counter), judge.mask_counts)
    own = in_distribution(evaluation, maps.method, judge.share, controls)
    results = {}
    for open_set in sets.openers(config, classifier, test):
        image_set = open_set()
        counts, name = count(image_set, judge.make_counter), image_set.name
        results[name] = summarise(image_set, counts, judge.mask_counts, own.filtered.tpr)
        logger.info("ood: %s: accuracy %.3f on %d images", name, results[name].accuracy, results[name].images.sum())
    result = OodResult(
        classes=tuple(classifier.classes),
        share=judge.share,
        threshold=config.evaluate.threshold,
        random_masks=judge.random_masks,
        searched_on=maps.searched_on,
        in_distribution=own,
        sets=results,
    )
    if parallel.is_main_process():
        files.write_json(result_file(directory, maps.method), result.to_json())


class Judge:
    """Counts how a classifier predicts sets of images, as they are, under maps at one share, and under controls."""

    def __init__(self, config: ConfigDict, classifier: Model, maps: DominantFrequencyMaps, test: Dataset):
        self._config, self._classifier, self._test = config, classifier, test
        self.share = maps.nearest(config.report.share)
        self._maps = maps.at(self.share)
        # Of each kind of random control.
        self.random_masks = config.ood.random_masks
        self.mask_counts = mask_counts(self._maps, self.random_masks)
        # Of Counts.to_rows().
        self.count_shape = (5 + len(self.mask_counts), len(classifier.classes))
        self._engines: dict[tuple[int, ...] | None, tuple[Engine, Engine]] = {}

    def made_of(self, image_set: Set) -> dict:
        """Return what the counts of a set depend on beside classifier and maps, as JSON values."""
        return {
            "set": image_set.made_of,
            "share": self.share,
            "images_per_class": self._config.ood.images_per_class,
            "part": sets.PART,
            "controls": {"images": ENERGY_IMAGES, **self._control_options} if self.mask_counts else None,
        }

    def make_counter(self, image_set: Set) -> Callable[[Part], Counts]:
        """Return a function that counts one part of a set, all of it in this process.

        Collective: every process must call this.
        """
        (engine, _), mean_std = self._engines_of(image_set.outputs), self._classifier.mean_std
        count_plain = make_plain_counter(self._classifier, image_set)
        count_controls, targets = self._control_counter(image_set.outputs), np.array(image_set.classes)

        def count(part: Part) -> Counts:
            images, classes, label = part.open(), self.count_shape[1], _label(image_set, part)
            matrix = count_plain(images)
            right, called = np.zeros((2, 2, classes), np.int64)
            right[0], called[0] = np.diag(matrix), matrix.sum(0)
            # Maps of classes that the set lacks are not applied.
            under_maps = predicted_counts(
                engine, images, mean_std, self._maps[targets], targets, label=label, alone=True
            )
            right[1, targets], called[1, targets] = under_maps[np.arange(len(targets)), targets], under_maps.sum(1)
            return Counts(np.bincount(images.labels, minlength=classes), right, called, count_controls(images, label))

        return count

    def make_control_counter(self, image_set: Set) -> Callable[[Part], Counts]:
        """Return a function as that of `make_counter`, which counts nothing but the images and the controls."""
        count_controls, classes = self._control_counter(None), self.count_shape[1]

        def count(part: Part) -> Counts:
            images, nothing = part.open(), np.zeros((2, classes), np.int64)
            of_controls = count_controls(images, _label(image_set, part))
            return Counts(np.bincount(images.labels, minlength=classes), nothing, nothing, of_controls)

        return count

    def _control_counter(
        self, labels: tuple[int, ...] | None
    ) -> Callable[[Images, str], Int[np.ndarray, "kinds classes"]]:
        """Return a function that counts the controls of images, whose progress bar has a label."""
        (_, engine), mean_std, classes = self._engines_of(labels), self._classifier.mean_std, self.count_shape[1]
        if not self.mask_counts:
            return lambda images, label: np.zeros((0, classes), np.int64)
        controls, first_masks = self._controls, np.cumsum([0, *self.mask_counts.values()])[:-1]

        def count(images: Images, label: str) -> Int[np.ndarray, "kinds classes"]:
            # On a class's own images only, so that a mask costs as much as one map, whatever the number of classes.
            label = f"{label}, controls"
            by_mask = predicted_counts(engine, images, mean_std, controls, None, label=label, alone=True)
            return np.add.reduceat(by_mask, first_masks)

        return count

    def _engines_of(self, labels: tuple[int, ...] | None) -> tuple[Engine, Engine]:
        """Return an engine for maps and one for controls, of the classifier that is restricted to some labels."""
        if labels not in self._engines:
            classifier = restrict(self._classifier, labels)
            engine = make_engine(classifier, self._test, self._config.run.memory_mib)
            # There is a mask of every class on the device for each mask of a tile: tiles hold as few images as parts.
            tile_images = min(engine.tile_images, sets.PART)
            of_controls = Engine(classifier, statistics=("correct",), tile_images=tile_images)
            self._engines[labels] = engine, of_controls
        return self._engines[labels]

    @property
    def _control_options(self) -> dict[str, int]:
        return {"random_masks": self.random_masks, "seed": self._config.seed}

    @functools.cached_property
    def _controls(self) -> UInt8[np.ndarray, "masks classes height bytes"]:
        positions = budget(self.share, *self._maps.shape[1:])
        return pack_controls(self._maps, positions, self._test, self._classifier.mean_std, **self._control_options)


def make_plain_counter(classifier: Model, image_set: Set) -> Callable[[Images], Int[np.ndarray, "classes classes"]]:
    """Return a function that counts images of a set as they are, in this process: true class and predicted class."""
    restricted, classes = restrict(classifier, image_set.outputs), len(classifier.classes)
    predict, params = make_predictor(restricted.apply, *classifier.mean_std), restricted.params
    return lambda images: confusion_matrix(predict(params, images, alone=True), images.labels, classes)


def _label(image_set: Set, part: Part) -> str:
    """Return what progress bars call a part."""
    return f"ood {image_set.name}" + (f" {part.name}" if len(image_set.parts) > 1 else "")


def in_distribution(
    evaluation: Evaluation, method: str, share: float, controls: ControlRates | None = None
) -> InDistribution:
    """Return the rates on the test images in the form of a set's rates."""
    unfiltered, filtered = evaluation.unfiltered, evaluation.methods[method].at(share)
    interval = wilson(np.diag(unfiltered.confusion), evaluation.images)
    return InDistribution(
        images=evaluation.images,
        accuracy=unfiltered.accuracy,
        unfiltered=Rates(unfiltered.tpr, interval, unfiltered.fpr),
        filtered=Rates(filtered.tpr, filtered.tpr_ci, filtered.fpr),
        controls=controls,
        average_tpr=average_tpr(filtered.tpr, filtered.tpr, unfiltered.tpr),
    )


def summarise(
    image_set: Set,
    counts: list[Counts],
    mask_counts: dict[str, int],
    grouping: Float[np.ndarray, " classes"],
) -> SetResult:
    """Return the rates of a set, of all its parts together and of each of its groups.

    Counts are those of each part; `grouping` is the TPR of each class under its map in distribution.
    """

    def of_parts(indices: list[int]) -> SetRates:
        places = {tuple(image_set.parts[index].groups.values()) for index in indices}
        return rates([counts[index] for index in indices], mask_counts, len(places) if image_set.repeated else 1)

    def of_folder(placeholder: str, folder: str) -> SetRates:
        return of_parts([i for i, part in enumerate(image_set.parts) if part.groups[placeholder] == folder])

    total = of_parts(list(range(len(counts))))
    return SetResult(
        **vars(total),
        average_tpr=average_tpr(grouping, total.filtered.tpr, total.unfiltered.tpr),
        restricted=image_set.restrict,
        made_of=image_set.made_of,
        groups={
            placeholder: {folder: of_folder(placeholder, folder) for folder in folders}
            for placeholder, folders in image_set.groups.items()
        },
    )


def restrict(classifier: Model, labels: tuple[int, ...] | None) -> Model:
    """Return the classifier with -inf for all outputs but `labels`: its largest logit is one of theirs. None = all."""
    if labels is None:
        return classifier

    def apply(params: PyTree, images: Float[Array, "n height width 3"]) -> Float[Array, "n outputs"]:
        logits = classifier.apply(params, images)
        allowed = np.zeros(logits.shape[-1], bool)
        allowed[list(labels)] = True
        return jnp.where(allowed, logits, -jnp.inf)

    return dataclasses.replace(classifier, apply=apply, apply_bfloat16=None)
