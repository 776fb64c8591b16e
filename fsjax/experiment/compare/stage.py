"""The compare stage: two sets of maps are read, measured against each other, and laid side by side."""

import logging
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.evaluation import evaluate as evaluate_stage
from fsjax.evaluation.statistics import mean
from fsjax.experiment.compare import page
from fsjax.experiment.compare.measures import RESAMPLES, rank_correlations
from fsjax.experiment.compare.pairing import Paired, class_names, pair
from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps, told
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.models.classifier import Classifier
from fsjax.runtime import files, interrupt, parallel
from fsjax.runtime.errors import CheckFailed, InputError
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share
from fsjax.search.imported import origin

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raises InputError for a field that a comparison cannot use."""
    for side in ("left", "right"):
        if not config.get(side):
            raise InputError(
                f"{side}: got nothing; expected a workdir with maps, one of its dfm/*.npz, or a pickle of maps"
            )
        try:
            published_maps.file_of(config[side])
        except InputError as error:
            raise InputError(f"{side}: {error}") from error
    if not 0 <= config.min_iou <= 1:
        raise InputError(f"min_iou: got {config.min_iou:g}; expected an IoU in [0, 1], 0 = no check")
    if not 0 < config.report.share <= 1:
        raise InputError(f"report.share: got {config.report.share:g}; expected a share in (0, 1]")
    search.check_shares(config.search.shares)
    evaluate_stage.check(config)


def run(config: ConfigDict, directory: Path, classifier: Classifier | None = None, test: Dataset | None = None) -> None:
    """Writes compare.json, report/compare.html and report/figures/compare.png.

    Args:
      config: left and right say what is compared.
      directory: the workdir.
      classifier: that both sides' masks are tried on; None = nothing is tried.
      test: the images for it.

    Raises:
      InputError: a side that cannot be read, or sides of different classes or planes.
      CheckFailed: all is written, and the mean IoU at config.report.share is below config.min_iou.
    """
    shares = tuple(config.search.shares)
    left, right = (published_maps.read_maps(config[side], classes=None, shares=shares) for side in ("left", "right"))
    classes = class_names(left, right)
    if classifier is not None and test is not None:
        classes = _classes_of(classifier, test, [left, right], classes)
    paired = pair(left, right, shares)
    headline = _nearest_row(paired, config.report.share)
    result = {
        "left": _about(left),
        "right": _about(right),
        "classes": list(classes),
        "plane": list(left.masks.shape[2:]),
        "masks": paired.how,
        "shares": [_overlap(paired, row) for row in range(len(paired.left.shares))],
        "headline": headline,
        "scores": _correlations(left, right, config.seed),
        "min_iou": config.min_iou,
    }
    result["unfiltered"] = None
    if classifier is not None and test is not None:
        result |= _rates(config, classifier, test, paired, headline)
    parallel.decide(lambda: _write(directory, result, paired))
    found, share = result["shares"][headline]["mean_iou"], _in_percent(result["shares"][headline])
    logger.info("compare: mean IoU %s at %s of the plane", "undefined" if found is None else f"{found:.3f}", share)
    if config.min_iou > 0 and (found is None or found < config.min_iou):
        value = "undefined, as no mask keeps anything" if found is None else f"{found:.4g}"
        raise CheckFailed(
            f"compare: the mean IoU at {share} of the plane is {value}; min_iou asks for {config.min_iou:g}"
        )


def _write(directory: Path, result: dict, paired: Paired) -> None:
    files.write_json(directory / "compare.json", result)
    page.write(directory, result, paired)


def _classes_of(
    classifier: Classifier, test: Dataset, sides: list[DominantFrequencyMaps], classes: tuple[str, ...]
) -> tuple[str, ...]:
    """The classifier's classes, once they agree with those of the maps and of the test images."""
    classifier.check_classes(test.classes, "data split test")
    if any(maps.named for maps in sides) or len(classes) != len(classifier.classes):
        classifier.check_classes(classes, "left and right")
    height, width = sides[0].masks.shape[2:]
    if (height, width) != (test.image_size, test.image_size):
        raise InputError(f"data.image_size: got {test.image_size}; expected {height} x {width}, as the maps are")
    return classifier.classes


def _nearest_row(paired: Paired, share: float) -> int:
    pairs = list(zip(paired.left.shares, paired.right.shares, strict=True))
    return min(range(len(pairs)), key=lambda row: max(abs(own - share) for own in pairs[row]))


def _about(maps: DominantFrequencyMaps) -> dict:
    """Where a side comes from, as JSON values."""
    return {
        **maps.provenance["file"],
        "method": origin(maps),
        "searched_on": maps.searched_on,
        "images": maps.images.tolist() if maps.images.any() else None,
        "shares": list(maps.shares),
        "scores": maps.scores is not None,
    }


def _overlap(paired: Paired, row: int) -> dict:
    """One pair of masks a class, as JSON values."""
    masks = list(zip(paired.left.masks[row], paired.right.masks[row], strict=True))
    found, chance = [iou(*pair) for pair in masks], [chance_iou(*pair) for pair in masks]
    return {
        "left": paired.left.shares[row],
        "right": paired.right.shares[row],
        "mean_iou": mean(found),
        "mean_chance_iou": mean(chance),
        "iou": found,
        "chance_iou": chance,
        "stability": _stability(paired, row),
        "positions": {"left": paired.left.positions[row].tolist(), "right": paired.right.positions[row].tolist()},
    }


def _stability(paired: Paired, row: int) -> dict:
    """How alike a side's own maps of resampled images are to it, as JSON values; None where its search did not tell."""

    def of(maps: DominantFrequencyMaps) -> dict | None:
        return told(maps.provenance["file"]["path"], lambda: at_share(maps, maps.shares[row])) or None

    return {"left": of(paired.left), "right": of(paired.right)}


def _correlations(left: DominantFrequencyMaps, right: DominantFrequencyMaps, seed: int) -> dict | None:
    """Of the scores of each class, as JSON values; None where a side has none."""
    if left.scores is None or right.scores is None:
        return None
    found = []
    with Progress("compare", len(left.scores), "classes") as progress:
        for pair in zip(left.scores, right.scores, strict=True):
            found.append(rank_correlations(*pair, seed))
            progress.update(1)
            interrupt.check()
    result: dict[str, Any] = {"resamples": RESAMPLES}
    for name in ("spearman", "kendall"):
        result[name] = [one[name].value for one in found]
        result[f"mean_{name}"] = mean(result[name])
        intervals = [one[name].interval for one in found]
        result[f"{name}_ci"] = [None if interval is None else list(interval) for interval in intervals]
    return result


def _rates(config: ConfigDict, classifier: Classifier, test: Dataset, paired: Paired, headline: int) -> dict:
    """TPR and FPR of the test images, unfiltered and under the masks of both sides, as JSON values.

    Those of the row that is shown first stand beside what their controls do.
    """
    sizes = np.bincount(test.labels, minlength=len(test.classes))
    engine = evaluate_stage.make_engine(classifier, test, config.run.memory_mib)
    rates = {}
    for side, maps in (("left", paired.left), ("right", paired.right)):
        found = evaluate_stage.filtered(classifier, engine, maps, test, sizes)
        rates[side] = [{name: found[f"{share:g}"][name] for name in ("tpr", "tpr_ci", "fpr")} for share in maps.shares]
        if config.evaluate.random_masks:
            shown, share = rates[side][headline], maps.shares[headline]
            shown |= evaluate_stage.controlled(config, classifier, maps, test, share, shown["tpr"], engine.tile_images)
    return {
        "unfiltered": evaluate_stage.unfiltered(classifier, test, sizes),
        "images": sizes.tolist(),
        "threshold": config.evaluate.threshold,
        "rates": rates,
    }


def _in_percent(row: dict) -> str:
    shares = dict.fromkeys(f"{100 * row[side]:g} %" for side in ("left", "right"))
    return " and ".join(shares)
