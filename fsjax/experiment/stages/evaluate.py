"""Judges the maps on the test images."""

from ml_collections import ConfigDict

from fsjax import report
from fsjax.evaluation import evaluate as evaluate_stage
from fsjax.evaluation import results
from fsjax.evaluation.statistics import mean
from fsjax.experiment.run import Run
from fsjax.experiment.stages import search
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import parallel


def check(config: ConfigDict) -> None:
    """Raises InputError for a field that judging the maps, or showing what was found, cannot use."""
    evaluate_stage.check(config)
    report.check(config)


def _run(current: Run) -> None:
    maps = current.maps
    evaluate_stage.run(current.config, current.directory, current.classifier, maps, current.dataset("test"))
    if parallel.is_main_process():
        _show(current, maps)


def _show(current: Run, maps: DominantFrequencyMaps) -> None:
    """What runs are compared by on the boards, at the share nearest to config.report.share."""
    found = results.of_method(current.directory / "evaluation.json", maps.method)
    rates = found[maps.method][f"{maps.nearest(current.config.report.share):g}"]
    accuracy, tpr, fpr = found["unfiltered"]["accuracy"], mean(rates["tpr"]), mean(rates["fpr"])
    means = {"accuracy": accuracy, "mean_tpr": tpr, "mean_fpr": fpr}
    values = {name: value for name, value in means.items() if value is not None}
    if verdicts := [verdict for verdict in rates.get("shortcut", ()) if verdict is not None]:
        values["shortcuts"] = sum(verdicts)
    current.metrics.outcome(maps.method, fingerprint(current.config, STAGE), values)


STAGE = Stage(
    name="evaluate",
    # Controls are of the share that is shown.
    fields=("evaluate", "report.share"),
    needs=(search.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda run: [run.directory / "evaluation.json"],
    run=_run,
    shown=("evaluate", "report"),
)
