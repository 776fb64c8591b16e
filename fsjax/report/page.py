"""The report stage: reads a workdir's results, draws the figures, and writes one self-contained page."""

import json
import shlex

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.evaluation import results
from fsjax.evaluation.controls import RATE
from fsjax.fourier.dfm import DominantFrequencyMaps, told
from fsjax.models.classifier import Classifier
from fsjax.report import drawn, explorer, figures, html, overview, pixels, style
from fsjax.report.notes import notes
from fsjax.report.plane import Plane, colour_table, symmetric_log
from fsjax.report.sections import sections
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path
from fsjax.search import SEARCHES, bootstrap, method_of
from fsjax.search.precision_check import in_words

# A TPR that falls by less than this without the planted frequencies means that the model does not use them.
USES_PLANTED = 0.1
# Figures that the page holds; the others lie beside it for papers, for the page's script shows more.
_EMBEDDED = ("average_tpr", "overlap", "planted")


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of config.report that cannot be used."""
    if config.report.share not in tuple(config.search.shares):
        accepted = ", ".join(f"{share:g}" for share in config.search.shares)
        raise InputError(f"report.share: {config.report.share:g} is not among search.shares; expected {accepted}")
    if config.report.samples < 1:
        raise InputError(f"report.samples: got {config.report.samples}; expected 1 or more")


def write(
    config: ConfigDict, directory: Path, classifier: Classifier, maps: DominantFrequencyMaps, test: Dataset
) -> None:
    """Writes report/index.html, report/figures/*.{png,pdf} and, for many classes, report/data/*.js in the workdir.

    Args:
      config: of the run.
      directory: the workdir, evaluated.
      classifier: that is judged.
      maps: of config.search.method.
      test: images to show filtered.
    """
    evaluation = results.of_method(directory / "evaluation.json", maps.method)
    result, folder = evaluation[maps.method], directory / "report"
    share, threshold = maps.nearest(config.report.share), config.evaluate.threshold
    file = directory / "dfm" / f"{maps.method}.npz"
    stable = told(file, lambda: bootstrap.at_share(maps, share))
    rows = overview.rows(maps, evaluation, share, threshold, stable)
    overlaps = overview.overlaps(maps.at(share)[: figures.MOST_CLASSES])
    images = {}
    for name, figure in drawn.draw(config, classifier, maps, test, evaluation, overlaps):
        save = html.embedded if name in _EMBEDDED else html.written
        images[name] = save(figure, folder / "figures" / f"{name}.png")
    shown = sections(directory, maps, share)
    stops = explorer.stops(maps, result, evaluation["images"], share)
    planes = [*_scores(maps), *(plane for section in shown for plane in section.planes)]
    data = _explored(config, classifier, maps, test, rows, stops, planes, folder)
    page = html.template("page.html").render(
        title=directory.name,
        config=config,
        command=command_of(directory),
        config_json=json.dumps(config.to_dict(), indent=1),
        stages=_stages(directory, config.search.method),
        evaluation=evaluation,
        result=result,
        maps=maps,
        shares=[f"{own:g}" for own in maps.shares],
        headline=f"{share:g}",
        threshold=threshold,
        rows=rows,
        cards=overview.cards(rows, maps.at(share), explorer.IN_PAGE),
        headline_sentence=overview.headline(rows, maps, share, threshold),
        verdicts="best_trivial" in result[f"{share:g}"],
        rate=RATE,
        stability=stable,
        overlap_sentence=overview.overlap_sentence(overlaps, maps.classes) if "overlap" in images else "",
        planted=_planted(evaluation, result),
        agreement=_agreement(maps),
        notes=told(file, lambda: notes(maps, share)),
        patch=config.search.patch if SEARCHES[maps.method].patches else None,
        images=images,
        drawn_classes=min(len(maps.classes), figures.MOST_CLASSES),
        sections=shown,
        stops=stops,
        headline_stop=data["headline"],
        planes=planes,
        data=data,
        nothing=pixels.kept(np.zeros((1, 1), bool)),
    )
    files.write_text(folder / "index.html", page)
    if data["classes"] is not None:
        # Of an earlier page of more classes.
        storage.remove(folder / "data")


def _explored(
    config: ConfigDict,
    classifier: Classifier,
    maps: DominantFrequencyMaps,
    test: Dataset,
    rows: list[dict],
    stops: list[explorer.Stop],
    planes: list[Plane],
    folder: Path,
) -> dict:
    """What the page's script reads; classes that the page has no room for are written to report/data."""
    height, width = maps.masks.shape[2:]
    found = (
        {**one, **{name: row[name] for name in ("sentence", "controls", "confused")}}
        for one, row in zip(
            explorer.classes(maps, stops, planes, classifier, test, config.report.samples), rows, strict=True
        )
    )
    inside = len(rows) <= explorer.IN_PAGE
    if not inside:
        for label, one in enumerate(found):
            script = f"fsjaxClass({label},{json.dumps(one)});\n"
            files.write_text(folder / "data" / f"class-{label:05d}.js", script)
    return {
        "names": maps.classes,
        "width": width,
        "height": height,
        "dc": [height // 2, width // 2],
        "shares": [stop.share for stop in stops],
        "headline": [stop.share for stop in stops].index(maps.nearest(config.report.share)),
        "threshold": config.evaluate.threshold,
        "kept": pixels.KEPT,
        "planes": [{"name": plane.name, "about": plane.about, "colours": plane.colours} for plane in planes],
        "colours": {name: colour_table(name, pixels.NOTHING) for name in {plane.colours for plane in planes}},
        "hint": "Point at a frequency, or move with the arrow keys, to read its values.",
        "classes": list(found) if inside else None,
    }


def _scores(maps: DominantFrequencyMaps) -> list[Plane]:
    """The scores of the maps, where there are any."""
    if (scores := maps.scores) is None:
        return []
    method = method_of(maps)

    def values(label: int) -> np.ndarray:
        return method.drawable(np.asarray(scores[label : label + 1]))[0]

    return [Plane("score", f"{method.scored}.", values, symmetric_log, style.DIVERGING)]


def _planted(evaluation: dict, result: dict) -> list[dict]:
    """A row a class with planted orbits, with the sentence that says whether the model uses them."""
    rows = []
    for name, reliance in evaluation.get("planted", {}).items():
        tpr = evaluation["unfiltered"]["tpr"][evaluation["classes"].index(name)]
        lost = tpr - reliance["tpr_without"]
        rows.append(
            {
                "name": name,
                "tpr": tpr,
                **reliance,
                **(result["planted"].get(name) or {"planted_orbits": None}),
                "uses": lost >= USES_PLANTED,
            }
        )
    return rows


def _agreement(maps: DominantFrequencyMaps) -> dict:
    """How far a search in lower precision agrees with 'highest', in words; empty for one in 'highest'."""
    found = maps.provenance.get("agreement") or {}
    if not found:
        return {}
    return found | {name: in_words(found[name]) for name in ("spearman", "top_iou")}


def _stages(directory: Path, method: str) -> list[dict]:
    """Name and wall time of the stages behind this report."""
    records = []
    for key in ("train", f"search-{method}", f"evaluate-{method}", "adcs", "heat_map", f"ood-{method}"):
        file = directory / "stages" / f"{key}.json"
        if file.exists():
            record = files.read_json(file)
            seconds, devices = record.get("seconds"), record.get("devices")
            if not isinstance(seconds, int | float) or not isinstance(devices, str):
                raise InputError(f"{file}: not the record of a stage; delete it to have the stage run again")
            records.append({"name": key, "time": clock(seconds), "devices": devices})
    return records


def command_of(directory: Path) -> str:
    """The command that made the workdir, for a shell."""
    file = directory / "command.json"
    words = files.read_json(file) if file.exists() else []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{file}: not the words of a command; delete it")
    return shlex.join(words)
