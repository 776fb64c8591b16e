"""The stage report: read a workdir's results, draw the figures, and write a self-contained page."""

import functools
import shlex
from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.source import set_name
from fsjax.engine.model import Model
from fsjax.evaluation import agreement, verdict
from fsjax.evaluation.graft_results import MEASURES
from fsjax.evaluation.results import Evaluation, planted_positions, read_method
from fsjax.fourier import masks
from fsjax.fourier.dfm import WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.report import answer, explorer, figures, galleries, html, sections, style, verdict_figures
from fsjax.report.explorer import Subject
from fsjax.report.sections import Plane
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path
from fsjax.search import SEARCHES, method_for_maps, patch_maps
from fsjax.search.method import Method

# A model uses planted frequencies where its TPR falls by at least this without them.
USES_PLANTED = 0.1
# The page embeds these figures; the others lie beside it for papers, since the page's script shows more.
_EMBEDDED = ("psi", "published_and_verdict", "radial_profiles", "average_tpr", "overlap", "planted")


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of config.report that cannot be used."""
    if config.report.share not in tuple(config.search.shares):
        accepted = ", ".join(f"{share:g}" for share in config.search.shares)
        raise InputError(f"report.share: got {config.report.share:g}; expected one of search.shares, {accepted}")


def write(config: ConfigDict, directory: Path, model: Model, maps: DominantFrequencyMaps, test: Dataset) -> None:
    """Write report/<method>/index.html with figures/*.{png,pdf}, for many classes data/*.js, and the index of methods.

    The workdir is evaluated, and config.search.method made the maps. The page shows test images filtered.
    """
    evaluation = read_method(directory / "evaluation.json", maps.method)
    subject = Subject(config, directory, model, maps, test, evaluation)
    share, grafts = subject.share, subject.evaluated.grafts
    stability, notes = patch_maps.stability_at_share(maps, share), search_notes(maps, share)
    if subject.evaluated.agreement:
        notes.append(agreement.in_words(subject.evaluated.agreement))
    psi = {} if grafts is None else dict(zip(grafts.curve_shares, grafts.curve.psi, strict=True))
    rows = explorer.rows(subject)
    cards = explorer.cards(rows, subject, explorer.IN_PAGE)
    overlaps = explorer.overlaps(maps.at(share)[: figures.MOST_CLASSES])
    images = _write_figures(subject, overlaps)
    further = sections.sections(directory, maps, share)
    attributed = galleries.attribution_section(subject, [row["label"] for row in cards or rows])
    planes = [plane for section in further for plane in section.planes]
    if (scores := maps.scores) is not None:
        planes.insert(0, _score_plane(method_for_maps(maps), scores))
    shares = list(explorer.stops(subject))
    gallery = [] if grafts is None else galleries.graft_gallery(subject, grafts, cards, shares)
    data = explorer.script_data(subject, rows, planes, gallery)
    page = functools.partial(
        html.template("page.html").render,
        title=directory.name,
        subject=subject,
        set_name=set_name(config.data),
        command=shell_command(directory),
        stages=_stages(directory, config.search.method),
        share_rates=[(each, subject.evaluated.at(each), psi.get(each)) for each in maps.shares],
        measures=MEASURES,
        answer=answer,
        verdict=verdict,
        planted=_planted(evaluation, maps.method),
        notes=notes,
        patch=config.search.patch if maps.method in SEARCHES and SEARCHES[maps.method].patches else None,
        rows=rows,
        cards=cards,
        headline_sentence=answer.headline(evaluation, maps.method, rows, share, config.evaluate.threshold),
        gallery=gallery,
        stability=stability,
        overlap_sentence=explorer.overlap_sentence(overlaps, maps.classes) if "overlap" in images else "",
        images=images,
        drawn_note=f" The first {figures.MOST_CLASSES} classes." if len(rows) > figures.MOST_CLASSES else "",
        sections=[*filter(None, [attributed]), *further],
        data=data,
    )
    files.write_text(subject.folder / "index.html", page(folder="data/"))
    if data["classes"] is not None:
        # An earlier page may have had more classes.
        storage.remove(subject.folder / "data")
    write_index(config, directory, evaluation, functools.partial(page, folder=f"{maps.method}/data/"))


def write_index(config: ConfigDict, directory: Path, evaluation: Evaluation, only: Callable[[], str]) -> None:
    """Write report/index.html: the only page, which `only` makes, or the verdicts on several pages, with links."""
    names = [name for name in sorted(evaluation.methods) if (html.page_folder(directory, name) / "index.html").exists()]
    if len(names) == 1:
        return files.write_text(directory / "report" / "index.html", only())
    methods, share, threshold = [], config.report.share, config.evaluate.threshold
    for name in names:
        rows = answer.class_rows(evaluation, name, share)
        methods.append(
            {
                "name": name,
                "share": evaluation.methods[name].nearest(share),
                "sentence": answer.headline(evaluation, name, rows, share, threshold),
                "others": answer.others(rows),
                "passes": evaluation.methods[name].forward_equivalents,
                "rows": rows,
            }
        )
    html.write_page(
        directory,
        "index",
        model=config.model.name,
        methods=methods,
        looks=verdict_figures.LOOKS,
        classes=evaluation.classes[: figures.MOST_CLASSES],
        all_classes=len(evaluation.classes),
    )


def _write_figures(subject: Subject, overlaps: Float[np.ndarray, "drawn drawn"]) -> dict[str, tuple[str, str]]:
    """Write the figures beside the page, and return the pictures that the page embeds, by name."""
    maps, share, threshold = subject.maps, subject.share, subject.config.evaluate.threshold
    drawn = verdict_figures.result_figures(maps, subject.evaluation, share, threshold)
    if np.isfinite(overlaps[~np.eye(len(overlaps), dtype=bool)]).any():
        drawn["overlap"] = lambda: figures.overlap_matrix(overlaps, maps.classes[: len(overlaps)], share)
    if subject.test.planted is not None and maps.scores is not None:
        drawn["planted"] = lambda: _planted_figure(subject)
    embedded = {}
    for name, draw in drawn.items():
        file = subject.folder / "figures" / f"{name}.png"
        if name in _EMBEDDED:
            embedded[name] = html.embed_figure(draw(), file)
        else:
            html.write_figure(draw(), file)
    return embedded


def _planted_figure(subject: Subject) -> Figure:
    """Draw the planted orbits of each class over as many orbits with the best scores."""
    names, scores, orbits = subject.maps.classes, subject.maps.scores, subject.test.planted
    assert scores is not None and orbits is not None
    truth = planted_positions(orbits)
    labels = np.flatnonzero(truth.any((1, 2)))
    best = np.stack([masks.best_orbits(scores[label], int(truth[label].sum())) for label in labels])
    recovered = [(names[label], subject.evaluated.planted[names[label]]) for label in labels]
    titles = [f"{name}\n{each.found} of {each.planted_orbits} found" for name, each in recovered]
    return figures.planted_grid(best, truth[labels], titles)


def _score_plane(method: Method, scores: np.ndarray) -> Plane:
    # A class at a time: a page shows few of a thousand.
    def values(label: int) -> np.ndarray:
        return method.drawable(np.asarray(scores[label : label + 1]))[0]

    return Plane("score", f"{method.scored}.", values, style.symmetric_log, style.DIVERGING)


def _planted(evaluation: Evaluation, method: str) -> list[dict]:
    """Return a row for each class with planted orbits, with whether the model uses them."""
    rows = []
    for name, reliance in evaluation.planted.items():
        tpr = evaluation.unfiltered.tpr[evaluation.classes.index(name)]
        uses = reliance.tpr_without is not None and tpr - reliance.tpr_without >= USES_PLANTED
        recovery = evaluation.methods[method].planted.get(name)
        rows.append({"name": name, "tpr": tpr, "reliance": reliance, "recovery": recovery, "uses": uses})
    return rows


def search_notes(maps: DominantFrequencyMaps, share: float) -> list[str]:
    """Return sentences about the search from the provenance of its maps, some about one share."""
    provenance, notes = maps.provenance, []
    if origin := provenance.get("imported"):
        notes.append(
            f"These maps were imported from {origin['path']} "
            f"(SHA-256 {origin['sha256'][:12]}…), made by {origin['method']}."
        )
    if method_for_maps(maps).whole_patches:
        patch = provenance.get(WHOLE_PATCHES, provenance.get("fields", {}).get("search.patch", 1))
        notes += patch_maps.few(maps.shares, maps.masks.shape[2:], patch)
    if "chosen" in provenance:
        chosen = Counter(choices[maps.shares.index(share)] for choices in provenance["chosen"])
        learned = chosen.pop("learned", 0)
        others = ", ".join(f"{name} ({count})" for name, count in chosen.most_common()) or "none"
        notes.append(
            f"At {100 * share:g} % the learned mask was the best candidate for {learned} of {len(maps.classes)} "
            f"classes; masks chosen in its place: {others}."
        )
    if "stages" in provenance:
        stages = ", ".join(f"{stage['candidates']} of patch {stage['patch']}" for stage in provenance["stages"])
        notes.append(f"Candidates of each stage: {stages}.")
    if positions := provenance.get("positions_kept"):
        notes.append(f"Greedy removal kept {min(positions)} to {max(positions)} positions a class.")
    return notes


def _stages(directory: Path, method: str) -> list[dict]:
    keys = ("train", f"search-{method}", f"evaluate-{method}", "adcs", "heat_map", f"ood-{method}")
    present = {key: file for key in keys if (file := directory / "stages" / f"{key}.json").exists()}
    records = {key: files.read_json(file) for key, file in present.items()}
    return [record | {"name": key, "time": clock(record["seconds"])} for key, record in records.items()]


def shell_command(directory: Path) -> str:
    """Return the command that made the workdir, for a shell."""
    file = directory / "command.json"
    return shlex.join(files.read_json(file)) if file.exists() else ""
