"""Lays two sets of maps side by side."""

from ml_collections import ConfigDict

from fsjax.experiment import compare
from fsjax.experiment.run import Run
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage
from fsjax.fourier import published_maps
from fsjax.models import weights

# Of config.evaluate; there is no grid of shares here.
_EVALUATED = tuple(f"evaluate.{field}" for field in ("threshold", "random_masks", "control_images"))


def check(config: ConfigDict) -> None:
    """Raises InputError for a field that a comparison cannot use."""
    compare.check(config)
    if config.model.weights:
        train.check(config)


def _run(current: Run) -> None:
    config, directory = current.config, current.directory
    if not config.model.weights:
        compare.run(config, directory)
        return
    test = current.dataset("test")
    weights.take(config, directory, test.classes)
    compare.run(config, directory, current.classifier, test)


STAGE = Stage(
    name="compare",
    fields=("left", "right", "min_iou", "seed", "search.shares", "report.share", "data", "model", *_EVALUATED),
    check=check,
    outputs=lambda run: [run.directory / "compare.json", run.directory / "report" / "compare.html"],
    run=_run,
    reads=lambda run: [
        *(published_maps.file_of(run.config[side]) for side in ("left", "right")),
        *train.weights_file(run),
    ],
    shown=("min_iou", "report", "evaluate"),
)
