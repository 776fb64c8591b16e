"""The stage compare: how alike two sets of maps are, by their masks and by the ranks of their scores."""

import logging
from typing import Any

from ml_collections import ConfigDict

from fsjax import search
from fsjax.evaluation.comparison import compare_maps
from fsjax.experiment.stage import Stage, Workspace
from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, html
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that a comparison cannot use."""
    search.check_shares(config.search.shares)
    _side_files(config)


def _side_files(config: ConfigDict) -> list[Path]:
    """Return the files of the left and the right maps."""
    for side in ("left", "right"):
        if not config.get(side):
            raise InputError(f"{side}: got nothing; expected a workdir with maps, a file of maps or a pickle of maps")
    return [published_maps.maps_file(config.left), published_maps.maps_file(config.right)]


def _run(workspace: Workspace) -> None:
    config, shares = workspace.config, tuple(workspace.config.search.shares)
    left, right = (published_maps.read_maps(file, classes=None, shares=shares) for file in _side_files(config))
    comparison, masks = compare_maps(left, right, shares, config.report.share, config.seed)

    def write() -> None:
        files.write_json(workspace.directory / "compare.json", comparison)
        write_page(workspace.directory, comparison, masks)

    parallel.decide(write)
    main = comparison["shares"][comparison["headline"]]
    share = " and ".join(dict.fromkeys(f"{100 * share:g} %" for share in (main["left"], main["right"])))
    value = "undefined, as no mask keeps anything" if main["mean_iou"] is None else f"{main['mean_iou']:.4g}"
    logger.info("compare: mean IoU %s at %s of the plane", value, share)


def write_page(
    directory: Path, comparison: dict[str, Any], masks: tuple[DominantFrequencyMaps, DominantFrequencyMaps]
) -> None:
    """Write report/compare.html and report/figures/compare.png in the workdir; `masks` are the compared maps."""
    main, count = comparison["shares"][comparison["headline"]], figures.MOST_CLASSES
    titles = [
        f"{name}\nIoU {'–' if iou is None else f'{iou:.2f}'}"
        for name, iou in zip(comparison["classes"][:count], main["iou"], strict=False)
    ]
    drawn = [maps.masks[comparison["headline"]][:count] for maps in masks]
    figure = figures.difference_grid(*drawn, titles, ("left", "right"))
    html.write_page(directory, "compare", {"compare": figure}, drawn=len(titles), main=main, **comparison)


STAGE = Stage(
    name="compare",
    fields=("left", "right", "seed", "search.shares", "report.share"),
    check=check,
    outputs=lambda workspace: [workspace.directory / "compare.json", workspace.directory / "report" / "compare.html"],
    run=_run,
    reads=lambda workspace: _side_files(workspace.config),
    shown=("report",),
)
