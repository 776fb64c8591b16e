"""Writes weights and maps for PyTorch code."""

from fsjax import classifier, export
from fsjax.run import Run
from fsjax.stages import search
from fsjax.stages.stage import Stage


def _run(current: Run) -> None:
    config, directory = current.config, current.directory
    maps = current.maps
    trained = classifier.load_trained(config, directory)
    export.run(trained, maps, directory, config.model.name, config.search.patch)


STAGE = Stage(
    name="export",
    fields=(),
    needs=(search.STAGE,),
    by_method=True,
    outputs=lambda run: [export.weights_file(run.directory, run.config.model.name)],
    run=_run,
)
