"""The stages that only write pages: report, with all results of a run, and runs, which lists several runs."""

from fsjax import report
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import evaluate
from fsjax.report import html, indexes, sections
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

RUNS = Stage(
    name="runs",
    fields=("runs",),
    shown=("runs",),
    check=lambda config: indexes.check_runs(config.runs),
    outputs=lambda workspace: [workspace.directory / "report" / "runs.html"],
    run=lambda workspace: parallel.decide(lambda: indexes.write_runs(workspace.directory, workspace.config.runs)),
    reads=lambda workspace: indexes.run_inputs(workspace.config.runs),
)
