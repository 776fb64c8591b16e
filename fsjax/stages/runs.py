"""Lists several runs on one page."""

from fsjax import parallel
from fsjax.report import runs
from fsjax.run import Run
from fsjax.stages.stage import Stage


def _run(current: Run) -> None:
    parallel.decide(lambda: runs.write(current.directory, current.config.runs))


STAGE = Stage(
    name="runs",
    fields=("runs",),
    shown=("runs",),
    check=lambda config: runs.check(config.runs),
    outputs=lambda run: [run.directory / "report" / "runs.html"],
    run=_run,
    reads=lambda run: runs.files(run.config.runs),
)
