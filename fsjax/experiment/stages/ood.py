"""The stage ood: the maps out of distribution, on other sets of images and under attacks."""

from fsjax.evaluation import ood
from fsjax.evaluation.ood import sets
from fsjax.evaluation.ood.results import result_file
from fsjax.experiment.stages import evaluate, search, train
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.experiment.workspace import Workspace
from fsjax.runtime import files


def _evaluate(workspace: Workspace) -> None:
    config, maps, test = workspace.config, workspace.maps, workspace.dataset("test")
    inputs = [path for stage in (train.STAGE, search.STAGE) for path in stage.outputs(workspace)]
    identity = {
        "fields": fingerprint(config, search.STAGE),
        "inputs": {path.name: files.sha256(path) for path in inputs},
    }
    ood.run(config, workspace.directory, workspace.classifier, maps, test, identity)


STAGE = Stage(
    name="ood",
    fields=("ood", "report.share"),
    needs=(evaluate.STAGE,),
    check=ood.check,
    by_method=True,
    outputs=lambda workspace: [result_file(workspace.directory, workspace.config.search.method)],
    run=_evaluate,
    reads=lambda workspace: [folder_set.file for folder_set in sets.parse(workspace.config)[0]],
    # Another set, or another share, is another view of the same search.
    shown=("ood", "evaluate", "report"),
    partial=lambda config: f"ood/{config.search.method}",
    splits=lambda config: ("test",),
)
