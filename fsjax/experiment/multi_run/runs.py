"""The stage runs: one page that lists several runs."""

from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.report import indexes
from fsjax.runtime import parallel


def _write(workspace: Workspace) -> None:
    parallel.decide(lambda: indexes.write_runs(workspace.directory, workspace.config.runs))


STAGE = Stage(
    name="runs",
    fields=("runs",),
    shown=("runs",),
    check=lambda config: indexes.check_runs(config.runs),
    outputs=lambda workspace: [workspace.directory / "report" / "runs.html"],
    run=_write,
    reads=lambda workspace: indexes.run_inputs(workspace.config.runs),
)
