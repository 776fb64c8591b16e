"""The stage compare: two sets of maps, their overlap, their rankings, and their rates where there is a model."""

import dataclasses
import logging
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation import evaluate, judge_maps, typed_json, verdict
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment.comparison import Pairing, compare_maps
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import train
from fsjax.fourier import dfm, published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.source import model_source
from fsjax.report import figures, html
from fsjax.report.answer import class_rows
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


def _side_files(config: ConfigDict) -> list[Path]:
    """Return the files of left and right; where `left` stands alone, of the two methods of that workdir, by name."""
    if config.get("left") and not config.get("right"):
        methods = dfm.files_in(storage.path(config.left))
        if len(methods) == 2:
            return methods
    side_files = []
    for side in ("left", "right"):
        if not config.get(side):
            raise InputError(
                f"{side}: got nothing; expected a workdir with maps, one of its dfm/*.npz, or a pickle of maps; left "
                "alone may be a workdir with maps of two methods"
            )
        try:
            side_files.append(published_maps.maps_file(config[side]))
        except InputError as error:
            raise InputError(f"{side}: {error}") from error
    return side_files


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

    A classifier is evaluated on the test images under the masks of both sides, and grafts between the same pairs of
    images judge both sides.

    Raises:
      InputError: an unreadable side, or sides of different classes or planes.
      CheckFailed: all is written, and the mean IoU at config.report.share is below config.min_iou.
    """
    shares, partial_results = tuple(config.search.shares), directory / "compare"
    left, right = (published_maps.read_maps(file, classes=None, shares=shares) for file in _side_files(config))
    comparison, paired = compare_maps(left, right, shares, config.report.share, config.seed)
    comparison |= {"min_iou": config.min_iou, "unfiltered": None}
    if classifier is not None and test is not None:
        _check_fit(classifier, test, [left, right], comparison["classes"])
        comparison["classes"] = classifier.classes
        comparison |= _on_model(config, classifier, test, paired, partial_results)

    def write() -> None:
        files.write_json(directory / "compare.json", typed_json.to_json(comparison))
        write_page(directory, comparison, paired)
        storage.remove(partial_results)

    parallel.decide(write)
    _check_overlap(comparison["shares"][comparison["headline"]], config.min_iou)


def _check_fit(classifier: Model, test: Dataset, sides: list[DominantFrequencyMaps], classes: tuple[str, ...]) -> None:
    """Raise InputError if the maps, the test images and the classifier have different classes or sizes."""
    classifier.check_classes(test.classes, "data split test")
    if any(maps.named for maps in sides) or len(classes) != len(classifier.classes):
        classifier.check_classes(classes, "left and right")
    height, width = sides[0].masks.shape[2:]
    if (height, width) != (test.image_size, test.image_size):
        raise InputError(f"data.image_size: got {test.image_size}; expected {height} x {width}, as the maps are")


def _on_model(
    config: ConfigDict, classifier: Model, test: Dataset, paired: Pairing, partial_results: Path
) -> dict[str, Any]:
    """Return rates on the test images and grafts between the same pairs of images, for both sides."""
    unfiltered = evaluate_unfiltered(classifier, test)
    engine, counts = evaluate.make_engine(classifier, test, config.run.memory_mib, partial_results)
    rates, grafts = {}, {}
    for side, maps in (("left", paired.left), ("right", paired.right)):
        by_share = evaluate.filter_by_maps(classifier, engine, maps, test, counts)
        rates[side] = tuple(by_share[share] for share in maps.shares)
        named = dataclasses.replace(maps, classes=classifier.classes)
        # Maps searched on test images get no pairs: it is not known which images they have seen.
        usable = np.arange(0 if maps.searched_on == "test" else len(test))
        grafts[side] = judge_maps.judge_maps(config, classifier, named, test, unfiltered, usable, partial_results)
    images = np.bincount(test.labels, minlength=len(test.classes))
    threshold = config.evaluate.threshold
    return {"unfiltered": unfiltered, "images": images, "threshold": threshold, "rates": rates, "grafts": grafts}


def _check_overlap(overlap: dict[str, Any], least: float) -> None:
    """Log the mean IoU of one pair of shares; raise CheckFailed if it is below `least`."""
    mean_iou = overlap["mean_iou"]
    share = " and ".join(dict.fromkeys(f"{100 * share:g} %" for share in (overlap["left"], overlap["right"])))
    value = "undefined, as no mask keeps anything" if mean_iou is None else f"{mean_iou:.4g}"
    logger.info("compare: mean IoU %s at %s of the plane", value, share)
    if least > 0 and (mean_iou is None or mean_iou < least):
        raise CheckFailed(
            f"compare: the mean IoU at {share} of the plane is {value}; expected {least:g} or more (min_iou)"
        )


def write_page(directory: Path, comparison: dict[str, Any], paired: Pairing) -> None:
    """Write report/compare.html and report/figures/compare.png in the workdir; `paired` are the compared maps."""
    row, classes = comparison["headline"], comparison["classes"]
    names, main = _names(comparison), comparison["shares"][row]
    titles = [
        f"{name}\nIoU {'–' if iou is None else f'{iou:.2f}'}"
        for name, iou in zip(classes[: figures.MOST_CLASSES], main["iou"], strict=False)
    ]
    masks = (maps.masks[row][: figures.MOST_CLASSES] for maps in (paired.left, paired.right))
    figure = figures.difference_grid(*masks, titles, (names["left"], names["right"]))
    judged = [
        [(side, row_of_class) for row_of_class in class_rows(classes, comparison["rates"][side][row], grafts)]
        for side, grafts in comparison.get("grafts", {}).items()
        if grafts
    ]
    html.write_page(
        directory,
        "compare",
        {"compare": figure},
        names=names,
        drawn=len(titles),
        judged=[entry for both_sides in zip(*judged, strict=True) for entry in both_sides],
        rule=verdict.rule(),
        main=main,
        on_model=comparison if comparison["unfiltered"] else None,
        **comparison,
    )


def _names(comparison: dict[str, Any]) -> dict[str, str]:
    """Return the names of the sides: their search methods where both lie in one workdir."""
    sides = ("left", "right")
    methods = {side: comparison[side]["method"] for side in sides}
    folders = {comparison[side]["path"].rpartition("/")[0] for side in sides}
    is_one_workdir = len(folders) == 1 and folders.pop().endswith("/dfm")
    return methods if is_one_workdir and len(set(methods.values())) > 1 else {side: side for side in sides}


STAGE = Stage(
    name="compare",
    fields=("left", "right", "min_iou", "seed", "search.shares", "report.share", "data", "model")
    + ("evaluate.threshold", "evaluate.pairs"),  # nothing else of evaluate: there is no grid of shares here
    check=check,
    outputs=lambda workspace: [workspace.directory / "compare.json", workspace.directory / "report" / "compare.html"],
    run=_run,
    reads=lambda workspace: [*_side_files(workspace.config), *model_source(workspace.config).weights_files()],
    shown=("min_iou", "report", "evaluate"),
)
