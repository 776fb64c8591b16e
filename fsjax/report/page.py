"""The stage report: reads a workdir's results, draws the figures, and writes one self-contained page."""

import json
import shlex

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.source import set_name
from fsjax.engine.model import Model
from fsjax.evaluation import evaluation_file, verdict
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import Evaluation
from fsjax.fourier.dfm import DominantFrequencyMaps, read_provenance
from fsjax.report import (
    attribution_gallery,
    explorer,
    figures,
    graft_gallery,
    headline,
    html,
    index,
    overview,
    pictures,
    run_figures,
    script_data,
    style,
)
from fsjax.report.class_rows import NO_VERDICT
from fsjax.report.plane import Plane, symmetric_log
from fsjax.report.search_notes import search_notes
from fsjax.report.sections import sections
from fsjax.report.shown import Shown
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path
from fsjax.search import SEARCHES, bootstrap, method_for_maps
from fsjax.search.precision_check import range_in_words

# A model whose TPR falls by less than this without the planted frequencies does not use them.
USES_PLANTED = 0.1
# Figures in the page; the others are beside it for papers, since the page's script shows more.
_EMBEDDED = ("psi", "published_and_verdict", "radial_profiles", "average_tpr", "overlap", "planted")


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of config.report that cannot be used."""
    if config.report.share not in tuple(config.search.shares):
        accepted = ", ".join(f"{share:g}" for share in config.search.shares)
        raise InputError(f"report.share: got {config.report.share:g}; expected one of search.shares, {accepted}")
    if config.report.samples < 1:
        raise InputError(f"report.samples: got {config.report.samples}; expected 1 or more")
    if config.report.attributions < 0:
        raise InputError(f"report.attributions: got {config.report.attributions}; expected 0 or more")


def write(config: ConfigDict, directory: Path, classifier: Model, maps: DominantFrequencyMaps, test: Dataset) -> None:
    """Write report/<method>/index.html, figures/*.{png,pdf} beside it and, for many classes, data/*.js; and the index.

    The workdir is evaluated, and the maps are those of config.search.method; test images are shown filtered.
    """
    evaluation = evaluation_file.read_method(directory / "evaluation.json", maps.method)
    shown = Shown(config, directory, classifier, maps, test, evaluation)
    share, threshold, grafts = shown.share, shown.threshold, shown.grafts
    stability = read_provenance(shown.maps_file, lambda: bootstrap.stability_at_share(maps, share))
    rows = overview.rows(maps, evaluation, share, threshold, stability)
    cards = overview.cards(rows, maps, explorer.IN_PAGE)
    gallery = [] if grafts is None else graft_gallery.gallery(config, maps, grafts, classifier, test, cards)
    overlaps = overview.overlaps(maps.at(share)[: figures.MOST_CLASSES])
    images = _write_figures(shown, overlaps)
    further = sections(directory, maps, share)
    labels = [row["label"] for row in cards or rows]
    decided = attribution_gallery.section(config, classifier, test, labels, shown.folder)
    stops = explorer.stops(maps, shown.evaluated, evaluation.images, share)
    planes = [*_scores(maps), *(plane for section in further for plane in section.planes)]
    data = script_data.write(shown, rows, stops, planes)
    page = html.template("page.html").render(
        **_of_run(shown),
        **_of_maps(shown),
        rows=rows,
        cards=cards,
        headline_sentence=headline.headline(rows, grafts, share, threshold),
        others=headline.others(rows),
        gallery=gallery,
        stability=stability,
        overlap_sentence=overview.overlap_sentence(overlaps, maps.classes) if "overlap" in images else "",
        images=images,
        drawn_note=f" The first {figures.MOST_CLASSES} classes." if len(rows) > figures.MOST_CLASSES else "",
        sections=[*filter(None, [decided]), *further],
        stops=stops,
        headline_stop=data["headline"],
        planes=planes,
        data=data,
        blank=pictures.mask_picture(np.zeros((1, 1), bool)),
    )
    files.write_text(shown.folder / "index.html", page)
    if data["classes"] is not None:
        # Of an earlier page of more classes.
        storage.remove(shown.folder / "data")
    index.write(config, directory)


def _write_figures(shown: Shown, overlaps: Float[np.ndarray, "drawn drawn"]) -> dict[str, str]:
    """Write the figures beside the page, and return the pictures, by name, of those that stand in it."""
    embedded = {}
    for name, figure in run_figures.draw(shown, overlaps):
        file = shown.folder / "figures" / f"{name}.png"
        if name in _EMBEDDED:
            embedded[name] = html.embed_figure(figure, file)
        else:
            html.write_figure(figure, file)
        for suffix in ("png", "pdf"):
            # Of an fsjax whose methods had one page, where figures of another method may lie.
            (shown.directory / "report" / "figures" / f"{name}.{suffix}").unlink(missing_ok=True)
    return embedded


def _of_run(shown: Shown) -> dict:
    """Return what the page says of the run as a whole, by the template's names."""
    config = shown.config
    return {
        "title": shown.directory.name,
        "config": config,
        "set_name": set_name(config.data),
        "command": command_of(shown.directory),
        "config_json": json.dumps(config.to_dict(), indent=1),
        "stages": _stages(shown.directory, config.search.method),
    }


def _of_maps(shown: Shown) -> dict:
    """Return what the page says of the maps and of what was measured of them, by the template's names."""
    maps, evaluated, share = shown.maps, shown.evaluated, shown.share
    return {
        "evaluation": shown.evaluation,
        "maps": maps,
        "share": share,
        "share_rates": [(own, evaluated.at(own), _psi(shown.grafts, own)) for own in maps.shares],
        "kept_differs": evaluated.at(share).kept_differs,
        "threshold": shown.threshold,
        "grafts": shown.grafts,
        "evidence": overview.EVIDENCE,
        "rule": verdict.rule(),
        "control": verdict.CONTROL,
        "no_verdict": NO_VERDICT,
        "planted": _planted(shown.evaluation, maps.method),
        "agreement": _agreement(maps),
        "notes": read_provenance(shown.maps_file, lambda: search_notes(maps, share)),
        "patch": shown.config.search.patch if maps.method in SEARCHES and SEARCHES[maps.method].patches else None,
    }


def _psi(grafts: Grafts | None, share: float) -> np.ndarray | None:
    """Return psi of every class's map at a share; None where it was not measured."""
    if grafts is None or share not in grafts.curve_shares:
        return None
    return grafts.curves["map"].psi[grafts.curve_shares.index(share)]


def _scores(maps: DominantFrequencyMaps) -> list[Plane]:
    """Return the scores of the maps, where there are any."""
    if (scores := maps.scores) is None:
        return []
    method = method_for_maps(maps)

    def values(label: int) -> np.ndarray:
        return method.drawable(np.asarray(scores[label : label + 1]))[0]

    return [Plane("score", f"{method.scored}.", values, symmetric_log, style.DIVERGING)]


def _planted(evaluation: Evaluation, method: str) -> list[dict]:
    """Return a row for each class with planted orbits, with whether the model uses them."""
    rows = []
    for name, reliance in evaluation.planted.items():
        tpr = evaluation.unfiltered.tpr[evaluation.classes.index(name)]
        uses = reliance.tpr_without is not None and tpr - reliance.tpr_without >= USES_PLANTED
        recovery = evaluation.methods[method].planted.get(name)
        rows.append({"name": name, "tpr": tpr, "reliance": reliance, "recovery": recovery, "uses": uses})
    return rows


def _agreement(maps: DominantFrequencyMaps) -> dict:
    """Return, in words, how far a search in lower precision agrees with 'highest'; empty for one in 'highest'."""
    agreement = maps.provenance.get("agreement") or {}
    return agreement and agreement | {name: range_in_words(agreement[name]) for name in ("spearman", "top_iou")}


def _stages(directory: Path, method: str) -> list[dict]:
    """Return name, wall time and devices of the stages behind this report."""
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
    """Return the command that made the workdir, for a shell."""
    file = directory / "command.json"
    words = files.read_json(file) if file.exists() else []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{file}: not the words of a command; delete it")
    return shlex.join(words)
