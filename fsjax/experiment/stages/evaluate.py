"""The stage evaluate: rates of the maps on the test images, and verdicts."""

from ml_collections import ConfigDict

from fsjax import report
from fsjax.evaluation import evaluate as evaluate_stage
from fsjax.evaluation import evaluation_file
from fsjax.evaluation.statistics import mean
from fsjax.experiment.stages import search
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.experiment.workspace import Workspace
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import parallel


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that the evaluation, or the report of it, cannot use."""
    evaluate_stage.check(config)
    report.check(config)


def _evaluate(workspace: Workspace) -> None:
    maps = workspace.maps
    evaluate_stage.run(workspace.config, workspace.directory, workspace.classifier, maps, workspace.dataset("test"))
    if parallel.is_main_process():
        _write_means(workspace, maps)


def _write_means(workspace: Workspace, maps: DominantFrequencyMaps) -> None:
    """Send the means at the share nearest to config.report.share to TensorBoard and Weights & Biases."""
    evaluation = evaluation_file.read_method(workspace.directory / "evaluation.json", maps.method)
    rates = evaluation.methods[maps.method].at(maps.nearest(workspace.config.report.share))
    means = {"accuracy": evaluation.unfiltered.accuracy, "mean_tpr": mean(rates.tpr), "mean_fpr": mean(rates.fpr)}
    values = {name: value for name, value in means.items() if value is not None}
    if verdicts := [verdict for verdict in rates.shortcut if verdict is not None]:
        values["shortcuts"] = sum(verdicts)
    workspace.metrics.outcome(maps.method, fingerprint(workspace.config, STAGE), values)


STAGE = Stage(
    name="evaluate",
    # The controls are of the share that is shown.
    fields=("evaluate", "report.share"),
    needs=(search.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda workspace: [workspace.directory / "evaluation.json"],
    run=_evaluate,
    shown=("evaluate", "report"),
)
