"""The stages that judge maps and show the results: evaluate, ood (other sets and attacks) and report."""

from fsjax.evaluation import evaluate, ood
from fsjax.evaluation.ood import sets
from fsjax.evaluation.ood.results import result_file
from fsjax.evaluation.results import read_method
from fsjax.evaluation.statistics import mean
from fsjax.experiment import forecast
from fsjax.experiment.stage import Stage, Workspace, fingerprint
from fsjax.experiment.stages import search, train
from fsjax.report import html, page, sections
from fsjax.runtime import files, parallel


def _evaluate(workspace: Workspace) -> None:
    maps = workspace.maps
    evaluate.run(workspace.config, workspace.directory, workspace.classifier, maps, workspace.dataset("test"))
    if not parallel.is_main_process():
        return
    # Means at the share nearest to report.share, for TensorBoard and Weights & Biases.
    evaluation = read_method(workspace.directory / "evaluation.json", maps.method)
    measured, share = evaluation.methods[maps.method], maps.nearest(workspace.config.report.share)
    rates, grafts = measured.at(share), measured.grafts
    means = {"accuracy": evaluation.unfiltered.accuracy, "mean_tpr": mean(rates.tpr), "mean_fpr": mean(rates.fpr)}
    if grafts:
        shortcuts = sum(verdict.kind == "shortcut" for verdict in grafts.verdicts)
        means |= {"mean_psi": mean(grafts.rates.psi), "shortcuts": shortcuts}
    values = {name: value for name, value in means.items() if value is not None}
    workspace.metrics.outcome(maps.method, fingerprint(workspace.config, STAGE), values)


STAGE = Stage(
    name="evaluate",
    # Verdicts depend on the shares up to the share of the report.
    fields=("evaluate", "report.share"),
    needs=(search.STAGE,),
    check=page.check,
    by_method=True,
    outputs=lambda workspace: [workspace.directory / "evaluation.json"],
    run=_evaluate,
    shown=("evaluate", "report"),
    splits=lambda config: ("test",),
    work=lambda config, datasets: forecast.judging_work(config, datasets["test"]),
)


def _evaluate_ood(workspace: Workspace) -> None:
    config, maps, test = workspace.config, workspace.maps, workspace.dataset("test")
    inputs = [path for stage in (train.STAGE, search.STAGE) for path in stage.outputs(workspace)]
    hashes = {path.name: files.sha256(path) for path in inputs}
    identity = {"fields": fingerprint(config, search.STAGE), "inputs": hashes}
    ood.run(config, workspace.directory, workspace.classifier, maps, test, identity)


OOD = Stage(
    name="ood",
    fields=("ood", "report.share"),
    needs=(STAGE,),
    check=ood.check,
    by_method=True,
    outputs=lambda workspace: [result_file(workspace.directory, workspace.config.search.method)],
    run=_evaluate_ood,
    reads=lambda workspace: [folder_set.file for folder_set in sets.parse(workspace.config)[0]],
    # Another set, or another share, is another view of the same search.
    shown=("ood", "evaluate", "report"),
    partial=lambda config: f"ood/{config.search.method}",
    splits=lambda config: ("test",),
)


def _report(workspace: Workspace) -> None:
    read = workspace.classifier, workspace.maps, workspace.dataset("test")  # by all processes
    parallel.decide(lambda: page.write(workspace.config, workspace.directory, *read))


REPORT = Stage(
    name="report",
    fields=("report",),
    needs=(STAGE,),
    by_method=True,
    reads=lambda workspace: sections.inputs(workspace.directory, workspace.config.search.method),
    outputs=lambda workspace: [
        html.page_folder(workspace.directory, workspace.config.search.method) / "index.html",
        workspace.directory / "report" / "index.html",
    ],
    run=_report,
    shown=("report", "evaluate"),
    splits=lambda config: ("test",),
)
