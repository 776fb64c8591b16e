"""The stage compare: two sets of maps, their overlap, their rankings, and their rates where there is a model."""

import dataclasses
import logging

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation import evaluate, judge_maps
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.evaluation.results import MapRates, Unfiltered
from fsjax.experiment.comparison import comparison_page, similarity
from fsjax.experiment.comparison.comparison import SIDES, Comparison, OnModel, Overlap, Side
from fsjax.experiment.comparison.pairing import Pairing, class_names, pair
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.fourier import dfm, published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.source import model_source
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.errors import CheckFailed, InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that a comparison cannot use."""
    _side_files(config)
    if not 0 <= config.min_iou <= 1:
        raise InputError(f"min_iou: got {config.min_iou:g}; expected an IoU in [0, 1], 0 = no check")
    if not 0 < config.report.share <= 1:
        raise InputError(f"report.share: got {config.report.share:g}; expected a share in (0, 1]")
    search.check_shares(config.search.shares)
    evaluate.check(config)
    if not model_source(config).trains:
        train.check(config)


def _side_files(config: ConfigDict) -> dict[str, Path]:
    """Return the file of each side: where only `left` is named, those of the two methods of that workdir, by name."""
    if config.get("left") and not config.get("right"):
        files_of_left = dfm.files_in(storage.path(config.left))
        if len(files_of_left) == len(SIDES):
            return dict(zip(SIDES, files_of_left, strict=True))
    found = {}
    for side in SIDES:
        if not config.get(side):
            raise InputError(
                f"{side}: got nothing; expected a workdir with maps, one of its dfm/*.npz, or a pickle of maps; left "
                "alone may be a workdir with maps of two methods"
            )
        try:
            found[side] = published_maps.file_of(config[side])
        except InputError as error:
            raise InputError(f"{side}: {error}") from error
    return found


def _run(workspace: Workspace) -> None:
    config, directory = workspace.config, workspace.directory
    source = model_source(config)
    if source.trains:  # no weights are named
        compare(config, directory)
        return
    test = workspace.dataset("test")
    source.record(directory, test.classes)
    compare(config, directory, workspace.classifier, test)


def compare(config: ConfigDict, directory: Path, classifier: Model | None = None, test: Dataset | None = None) -> None:
    """Write compare.json, report/compare.html and report/figures/compare.png for the maps that config names.

    The classifier, if there is one, is evaluated on the test images under the masks of both sides, and grafts of the
    same pairs of images judge both sides.

    Raises:
      InputError: a side that cannot be read, or sides of different classes or planes.
      CheckFailed: all is written, and the mean IoU at config.report.share is below config.min_iou.
    """
    shares = tuple(config.search.shares)
    left, right = (published_maps.read_maps(file, classes=None, shares=shares) for file in _side_files(config).values())
    classes = class_names(left, right)
    if classifier is not None and test is not None:
        classes = _classes_of(classifier, test, [left, right], classes)
    paired, partial_results = pair(left, right, shares), directory / "compare"
    comparison = Comparison(
        left=Side.of(left),
        right=Side.of(right),
        classes=classes,
        plane=left.masks.shape[2:],
        masks=paired.how,
        shares=tuple(similarity.overlap(paired, row) for row in range(len(paired.left.shares))),
        headline=_nearest_row(paired, config.report.share),
        scores=similarity.correlations(left, right, config.seed),
        min_iou=config.min_iou,
        on_model=None
        if classifier is None or test is None
        else _on_model(config, classifier, test, paired, partial_results),
    )

    def write() -> None:
        files.write_json(directory / "compare.json", comparison.to_json())
        comparison_page.write(directory, comparison, paired)
        storage.remove(partial_results)

    parallel.decide(write)
    _check_overlap(comparison.shares[comparison.headline], config.min_iou)


def _check_overlap(overlap: Overlap, least: float) -> None:
    """Log the mean IoU of one pair of shares; raise CheckFailed if it is below `least`."""
    mean_iou = overlap.mean_iou
    share = " and ".join(dict.fromkeys(f"{100 * own:g} %" for own in (overlap.left, overlap.right)))
    logger.info(
        "compare: mean IoU %s at %s of the plane", "undefined" if mean_iou is None else f"{mean_iou:.3f}", share
    )
    if least > 0 and (mean_iou is None or mean_iou < least):
        value = "undefined, as no mask keeps anything" if mean_iou is None else f"{mean_iou:.4g}"
        raise CheckFailed(
            f"compare: the mean IoU at {share} of the plane is {value}; expected {least:g} or more (min_iou)"
        )


def _classes_of(
    classifier: Model, test: Dataset, sides: list[DominantFrequencyMaps], classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the classifier's classes; raise InputError if the maps or the test images have others."""
    classifier.check_classes(test.classes, "data split test")
    if any(maps.named for maps in sides) or len(classes) != len(classifier.classes):
        classifier.check_classes(classes, "left and right")
    height, width = sides[0].masks.shape[2:]
    if (height, width) != (test.image_size, test.image_size):
        raise InputError(f"data.image_size: got {test.image_size}; expected {height} x {width}, as the maps are")
    return classifier.classes


def _nearest_row(paired: Pairing, share: float) -> int:
    pairs = list(zip(paired.left.shares, paired.right.shares, strict=True))
    return min(range(len(pairs)), key=lambda row: max(abs(own - share) for own in pairs[row]))


def _on_model(config: ConfigDict, classifier: Model, test: Dataset, paired: Pairing, partial_results: Path) -> OnModel:
    """Return the rates on the test images, and what grafts between them say of both sides."""
    unfiltered = evaluate_unfiltered(classifier, test)
    return OnModel(
        unfiltered=unfiltered,
        images=np.bincount(test.labels, minlength=len(test.classes)),
        threshold=config.evaluate.threshold,
        rates=_rates(config, classifier, test, paired),
        grafts=_grafts(config, classifier, test, unfiltered, paired, partial_results),
    )


def _rates(config: ConfigDict, classifier: Model, test: Dataset, paired: Pairing) -> dict[str, tuple[MapRates, ...]]:
    """Return the rates on the test images under the masks of both sides."""
    engine = evaluate.make_engine(classifier, test, config.run.memory_mib)
    rates = {}
    for side in SIDES:
        maps: DominantFrequencyMaps = getattr(paired, side)
        by_share = evaluate.filter_by_maps(classifier, engine, maps, test)
        rates[side] = tuple(by_share[share] for share in maps.shares)
    return rates


def _grafts(
    config: ConfigDict,
    classifier: Model,
    test: Dataset,
    unfiltered: Unfiltered,
    paired: Pairing,
    partial_results: Path,
) -> dict[str, Grafts | None]:
    """Return what grafts say of both sides, of the same pairs.

    A side that was searched on test images has no pairs: which of them it has seen is not known.
    """
    grafts = {}
    for side in SIDES:
        maps = dataclasses.replace(getattr(paired, side), classes=classifier.classes)
        usable = np.arange(0 if maps.searched_on == "test" else len(test))
        grafts[side] = judge_maps.judge_maps(config, classifier, maps, test, unfiltered, usable, partial_results)
    return grafts


# There is no grid of shares here.
_EVALUATED = ("evaluate.threshold", "evaluate.pairs")

STAGE = Stage(
    name="compare",
    fields=("left", "right", "min_iou", "seed", "search.shares", "report.share", "data", "model", *_EVALUATED),
    check=check,
    outputs=lambda workspace: [workspace.directory / "compare.json", workspace.directory / "report" / "compare.html"],
    run=_run,
    reads=lambda workspace: [
        *_side_files(workspace.config).values(),
        *model_source(workspace.config).weights_files(),
    ],
    shown=("min_iou", "report", "evaluate"),
)
