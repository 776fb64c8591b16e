"""Judges the maps on the test images."""

from fsjax import report
from fsjax.evaluate import stage as evaluate_stage
from fsjax.run import Run
from fsjax.stages import search
from fsjax.stages.stage import Stage


def _run(current: Run) -> None:
    maps = current.maps
    evaluate_stage.run(current.config, current.directory, current.classifier, maps, current.dataset("test"))


STAGE = Stage(
    name="evaluate",
    # Controls are of the share that is shown.
    fields=("evaluate", "report.share"),
    needs=(search.STAGE,),
    check=report.check,
    by_method=True,
    outputs=lambda run: [run.directory / "evaluation.json"],
    run=_run,
    shown=("evaluate", "report"),
)
