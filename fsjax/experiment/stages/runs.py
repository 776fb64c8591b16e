"""Lists several runs on one page."""

from fsjax.experiment.run import Run
from fsjax.experiment.stages.stage import Stage
from fsjax.report import runs
from fsjax.runtime import parallel


def _run(current: Run) -> None:
    parallel.decide(lambda: runs.write(current.directory, current.config.runs))


STAGE = Stage(
    name="runs",
    fields=("runs",),
    shown=("runs",),
    check=lambda config: runs.check(config.runs),
    outputs=lambda run: [run.directory / "report" / "runs.html"],
    run=_run,
    reads=lambda run: runs.inputs(run.config.runs),
)
