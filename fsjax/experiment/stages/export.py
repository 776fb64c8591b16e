"""Writes weights and maps for PyTorch code."""

from ml_collections import ConfigDict

from fsjax.experiment import export
from fsjax.experiment.run import Run
from fsjax.experiment.stages import search
from fsjax.experiment.stages.stage import Stage
from fsjax.models import classifier
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError


def check(config: ConfigDict) -> None:
    """Raises InputError for a model that PyTorch's module would not be."""
    if config.data.frequencies:
        raise InputError(
            f"data.frequencies: got {config.data.frequencies!r}; "
            "expected '' with the stage export, since weights alone "
            "do not tell PyTorch to filter the images"
        )


def _run(current: Run) -> None:
    config, directory = current.config, current.directory
    maps = current.maps
    trained = classifier.load_trained(config, directory)
    parallel.decide(lambda: export.run(trained, maps, directory, config.model.name, config.search.patch))


STAGE = Stage(
    name="export",
    fields=(),
    needs=(search.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda run: [export.weights_file(run.directory, run.config.model.name)],
    run=_run,
)
