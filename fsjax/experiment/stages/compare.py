"""The stage compare: two sets of maps, their overlap, their rankings, and their rates where there is a model."""

import dataclasses
import logging
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.evaluation import evaluate, map_grafts
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import MapRates, Unfiltered
from fsjax.evaluation.statistics import mean
from fsjax.evaluation.typed_json import to_json
from fsjax.evaluation.unfiltered import evaluate_unfiltered
from fsjax.experiment.comparison import comparison_page
from fsjax.experiment.comparison.pairing import Pairing, class_names, pair
from fsjax.experiment.comparison.rank_correlation import RESAMPLES, rank_correlations
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps, read_provenance
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.models import weights
from fsjax.models.classifier import Classifier
from fsjax.runtime import files, interrupt, parallel, storage
from fsjax.runtime.errors import CheckFailed, InputError
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share
from fsjax.search.imported import origin

logger = logging.getLogger(__name__)

SIDES = ("left", "right")


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that a comparison cannot use."""
    _side_files(config)
    if not 0 <= config.min_iou <= 1:
        raise InputError(f"min_iou: got {config.min_iou:g}; expected an IoU in [0, 1], 0 = no check")
    if not 0 < config.report.share <= 1:
        raise InputError(f"report.share: got {config.report.share:g}; expected a share in (0, 1]")
    search.check_shares(config.search.shares)
    evaluate.check(config)
    if config.model.weights:
        train.check(config)


def _side_files(config: ConfigDict) -> dict[str, Path]:
    """Return the file of each side: where only `left` is named, those of the two methods of that workdir, by name."""
    if config.get("left") and not config.get("right"):
        files_of_left: list[Path] = sorted((storage.path(config.left) / "dfm").glob("*.npz"), key=str)
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
    if not config.model.weights:
        compare(config, directory)
        return
    test = workspace.dataset("test")
    weights.record(config, directory, test.classes)
    compare(config, directory, workspace.classifier, test)


def compare(
    config: ConfigDict, directory: Path, classifier: Classifier | None = None, test: Dataset | None = None
) -> None:
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
    paired = pair(left, right, shares)
    headline = _nearest_row(paired, config.report.share)
    result = {
        "left": _description(left),
        "right": _description(right),
        "classes": list(classes),
        "plane": list(left.masks.shape[2:]),
        "masks": paired.how,
        "shares": [_overlap(paired, row) for row in range(len(paired.left.shares))],
        "headline": headline,
        "scores": _correlations(left, right, config.seed),
        "min_iou": config.min_iou,
        "unfiltered": None,
    }
    rates: dict[str, list[MapRates]] = {}
    grafts: dict[str, Grafts | None] = {}
    partial_results = directory / "compare"
    if classifier is not None and test is not None:
        unfiltered, rates = evaluate_unfiltered(classifier, test), _rates(config, classifier, test, paired)
        grafts = _grafts(config, classifier, test, unfiltered, paired, partial_results)
        result |= {
            "unfiltered": to_json(unfiltered),
            "images": np.bincount(test.labels, minlength=len(test.classes)).tolist(),
            "threshold": config.evaluate.threshold,
            "rates": to_json(rates),
            "grafts": to_json(grafts),
        }

    def write() -> None:
        files.write_json(directory / "compare.json", result)
        comparison_page.write(directory, result, paired, rates, grafts)
        storage.remove(partial_results)

    parallel.decide(write)
    _check_overlap(result["shares"][headline], config.min_iou)


def _check_overlap(overlap: dict, least: float) -> None:
    """Log the mean IoU of one pair of shares; raise CheckFailed if it is below `least`."""
    mean_iou = overlap["mean_iou"]
    share = " and ".join(dict.fromkeys(f"{100 * overlap[side]:g} %" for side in SIDES))
    logger.info(
        "compare: mean IoU %s at %s of the plane", "undefined" if mean_iou is None else f"{mean_iou:.3f}", share
    )
    if least > 0 and (mean_iou is None or mean_iou < least):
        value = "undefined, as no mask keeps anything" if mean_iou is None else f"{mean_iou:.4g}"
        raise CheckFailed(
            f"compare: the mean IoU at {share} of the plane is {value}; expected {least:g} or more (min_iou)"
        )


def _classes_of(
    classifier: Classifier, test: Dataset, sides: list[DominantFrequencyMaps], classes: tuple[str, ...]
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


def _description(maps: DominantFrequencyMaps) -> dict:
    """Return the file and the origin of a side's maps, as JSON values."""
    return {
        **maps.provenance["file"],
        "method": origin(maps),
        "searched_on": maps.searched_on,
        "images": maps.images.tolist() if maps.images.any() else None,
        "shares": list(maps.shares),
        "scores": maps.scores is not None,
    }


def _overlap(paired: Pairing, row: int) -> dict:
    """Return the IoU of each class's pair of masks, and what it is to be held against, as JSON values."""
    masks = list(zip(paired.left.masks[row], paired.right.masks[row], strict=True))
    ious, chance = [iou(*pair) for pair in masks], [chance_iou(*pair) for pair in masks]
    return {
        "left": paired.left.shares[row],
        "right": paired.right.shares[row],
        "mean_iou": mean(ious),
        "mean_chance_iou": mean(chance),
        "iou": ious,
        "chance_iou": chance,
        "stability": {"left": _stability(paired.left, row), "right": _stability(paired.right, row)},
        "positions": {side: getattr(paired, side).positions[row].tolist() for side in SIDES},
        "kept": {side: getattr(paired, side).kept[row].tolist() for side in SIDES},
    }


def _stability(maps: DominantFrequencyMaps, row: int) -> dict | None:
    """Return the IoU of a side's maps with those of resampled images; None where its search has no resamples."""
    return read_provenance(maps.provenance["file"]["path"], lambda: at_share(maps, maps.shares[row])) or None


def _correlations(left: DominantFrequencyMaps, right: DominantFrequencyMaps, seed: int) -> dict | None:
    """Return the rank correlations of each class's scores, as JSON values; None where a side has no scores."""
    if left.scores is None or right.scores is None:
        return None
    correlations = []
    with Progress("compare", len(left.scores), "classes") as progress:
        for planes in zip(left.scores, right.scores, strict=True):
            correlations.append(rank_correlations(*planes, seed))
            progress.update(1)
            interrupt.check()
    result: dict[str, Any] = {"resamples": RESAMPLES}
    for name in ("spearman", "kendall"):
        result[name] = [of_class[name].value for of_class in correlations]
        result[f"mean_{name}"] = mean(result[name])
        result[f"{name}_ci"] = [of_class[name].interval for of_class in correlations]
    return result


def _rates(config: ConfigDict, classifier: Classifier, test: Dataset, paired: Pairing) -> dict[str, list[MapRates]]:
    """Return the rates on the test images under the masks of both sides."""
    engine = evaluate.make_engine(classifier, test, config.run.memory_mib)
    rates = {}
    for side in SIDES:
        maps: DominantFrequencyMaps = getattr(paired, side)
        by_share = evaluate.filter_by_maps(classifier, engine, maps, test)
        rates[side] = [by_share[share] for share in maps.shares]
    return rates


def _grafts(
    config: ConfigDict,
    classifier: Classifier,
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
        grafts[side] = map_grafts.judge_maps(config, classifier, maps, test, unfiltered, usable, partial_results)
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
        *train.weights_file(workspace),
    ],
    shown=("min_iou", "report", "evaluate"),
)
