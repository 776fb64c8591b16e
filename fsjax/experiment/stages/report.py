"""Writes the page that shows what was found."""

from fsjax import report
from fsjax.experiment.run import Run
from fsjax.experiment.stages import evaluate
from fsjax.experiment.stages.stage import Stage
from fsjax.report import sections
from fsjax.runtime import parallel


def _run(current: Run) -> None:
    config, directory = current.config, current.directory
    maps, classifier, test = current.maps, current.classifier, current.dataset("test")
    parallel.decide(lambda: report.write(config, directory, classifier, maps, test))


STAGE = Stage(
    name="report",
    fields=("report",),
    needs=(evaluate.STAGE,),
    by_method=True,
    reads=lambda run: sections.inputs(run.directory, run.config.search.method),
    outputs=lambda run: [run.directory / "report" / "index.html"],
    run=_run,
    shown=("report", "evaluate"),
)
