"""Judges the maps out of distribution: on other sets of images, and under attacks."""

from fsjax.evaluation import ood
from fsjax.evaluation.ood import sets
from fsjax.evaluation.ood.evaluate import result_file
from fsjax.experiment.run import Run
from fsjax.experiment.stages import evaluate, search, train
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.runtime import files


def _run(current: Run) -> None:
    config, maps, test = current.config, current.maps, current.dataset("test")
    inputs = [path for stage in (train.STAGE, search.STAGE) for path in stage.outputs(current)]
    identity = {
        "fields": fingerprint(config, search.STAGE),
        "inputs": {path.name: files.sha256(path) for path in inputs},
    }
    ood.run(config, current.directory, current.classifier, maps, test, identity)


STAGE = Stage(
    name="ood",
    fields=("ood", "report.share"),
    needs=(evaluate.STAGE,),
    check=ood.check,
    by_method=True,
    outputs=lambda run: [result_file(run.directory, run.config.search.method)],
    run=_run,
    reads=lambda run: [one.file for one in sets.asked(run.config)[0]],
    # Another set, or another share, is shown beside the same search.
    shown=("ood", "evaluate", "report"),
    partial=lambda config: True,
)
