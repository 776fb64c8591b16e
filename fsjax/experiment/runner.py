"""An experiment: the stages that config.stages names, over one run or several."""

from ml_collections import ConfigDict

from fsjax.experiment import pipeline
from fsjax.experiment.stage import Stage
from fsjax.experiment.stages import STAGES as STAGES_OF_A_RUN
from fsjax.experiment.stages import study
from fsjax.runtime.storage import Path

STAGES: dict[str, Stage] = {**STAGES_OF_A_RUN, study.STAGE.name: study.STAGE}


def run(config: ConfigDict, directory: Path, *, command: list[str] | None = None) -> None:
    """Run the config's stages in a workdir, and store `command` beside the results for the report.

    Raises InputError for a bad field, an earlier result made with other fields, or a stage without its input, and
    interrupt.Terminated after SIGTERM.
    """
    pipeline.run(config, directory, STAGES, command=command)


def check(config: ConfigDict) -> list[str]:
    """Return the names of the config's stages; raise InputError for a bad field."""
    return pipeline.check(config, STAGES)
