"""Writes the page that shows what was found."""

from fsjax import report
from fsjax.report import sections
from fsjax.run import Run
from fsjax.stages import evaluate
from fsjax.stages.stage import Stage


def _run(current: Run) -> None:
    maps = current.maps
    report.write(current.config, current.directory, current.classifier, maps, current.dataset("test"))


STAGE = Stage(
    name="report",
    fields=("report",),
    needs=(evaluate.STAGE,),
    by_method=True,
    reads=lambda run: sections.files(run.directory, run.config.search.method),
    outputs=lambda run: [run.directory / "report" / "index.html"],
    run=_run,
    shown=("report", "evaluate"),
)
