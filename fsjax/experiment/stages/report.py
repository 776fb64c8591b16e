"""The stage report: the page with all results of the run."""

from fsjax import report
from fsjax.experiment.stages import evaluate
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.report import html, sections
from fsjax.runtime import parallel


def _write(workspace: Workspace) -> None:
    config, directory = workspace.config, workspace.directory
    maps, classifier, test = workspace.maps, workspace.classifier, workspace.dataset("test")
    parallel.decide(lambda: report.write(config, directory, classifier, maps, test))


STAGE = Stage(
    name="report",
    fields=("report",),
    needs=(evaluate.STAGE,),
    by_method=True,
    reads=lambda workspace: sections.inputs(workspace.directory, workspace.config.search.method),
    outputs=lambda workspace: [
        html.page_folder(workspace.directory, workspace.config.search.method) / "index.html",
        workspace.directory / "report" / "index.html",
    ],
    run=_write,
    shown=("report", "evaluate"),
    splits=lambda config: ("test",),
)
