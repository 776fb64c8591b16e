"""The stage evaluate: rates of the maps on the test images, and verdicts."""

from ml_collections import ConfigDict

from fsjax import report
from fsjax.evaluation import evaluate as evaluate_stage
from fsjax.evaluation.results import read_method
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
    evaluation = read_method(workspace.directory / "evaluation.json", maps.method)
    of_method, share = evaluation.methods[maps.method], maps.nearest(workspace.config.report.share)
    rates, grafts = of_method.at(share), of_method.grafts
    means = {"accuracy": evaluation.unfiltered.accuracy, "mean_tpr": mean(rates.tpr), "mean_fpr": mean(rates.fpr)}
    if grafts:
        means["mean_psi"] = mean(grafts.rates.psi)
        means["shortcuts"] = sum(verdict.kind == "shortcut" for verdict in grafts.verdicts)
    values = {name: value for name, value in means.items() if value is not None}
    workspace.metrics.outcome(maps.method, fingerprint(workspace.config, STAGE), values)


STAGE = Stage(
    name="evaluate",
    # Verdicts rest on the shares up to the one that is shown.
    fields=("evaluate", "report.share"),
    needs=(search.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda workspace: [workspace.directory / "evaluation.json"],
    run=_evaluate,
    shown=("evaluate", "report"),
    splits=lambda config: ("test",),
)
