"""The report stage: reads a workdir's results, draws the figures, and writes one self-contained page."""

import json
import shlex

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from fsjax import masks, spectrum, workdir
from fsjax.classifier import Classifier
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.dfm import DominantFrequencyMaps
from fsjax.errors import InputError
from fsjax.evaluate import results
from fsjax.evaluate.controls import RATE
from fsjax.evaluate.stage import truth_of
from fsjax.progress import clock
from fsjax.report import figures, html
from fsjax.report.notes import notes
from fsjax.report.sections import sections
from fsjax.report.verdicts import verdicts
from fsjax.search import SEARCHES, method_of
from fsjax.search.agreement import in_words
from fsjax.storage import Path

# A TPR that falls by less than this without the planted frequencies means that the model does not use them.
USES_PLANTED = 0.1


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of config.report or config.evaluate that cannot be used."""
    if config.report.share not in tuple(config.search.shares):
        accepted = ", ".join(f"{share:g}" for share in config.search.shares)
        raise InputError(f"report.share: {config.report.share:g} is not among search.shares; accepted: {accepted}")
    if config.report.samples < 1:
        raise InputError(f"report.samples: {config.report.samples}; accepted: 1 or more")
    if not 0 <= config.evaluate.threshold <= 1:
        raise InputError(f"evaluate.threshold: {config.evaluate.threshold:g}; accepted: a TPR in [0, 1]")
    for field in ("random_masks", "control_images"):
        if config.evaluate[field] < 0:
            raise InputError(f"evaluate.{field}: {config.evaluate[field]}; accepted: 0 or more")


def write(
    config: ConfigDict, directory: Path, classifier: Classifier, maps: DominantFrequencyMaps, test: Dataset
) -> None:
    """Writes report/index.html and report/figures/*.png in the workdir.

    Args:
      config: of the run.
      directory: the workdir, evaluated.
      classifier: that is judged.
      maps: of config.search.method.
      test: images to show filtered.
    """
    evaluation = results.of_method(directory / "evaluation.json", maps.method)
    result = evaluation[maps.method]
    folder = directory / "report"
    drawn = {
        name: html.embedded(figure, folder / "figures" / f"{name}.png")
        for name, figure in _draw(config, classifier, maps, test, result)
    }
    share = maps.nearest(config.report.share)
    page = html.template("page.html").render(
        title=directory.name,
        config=config,
        command=command_of(directory),
        config_json=json.dumps(config.to_dict(), indent=1),
        stages=_stages(directory, config.search.method),
        evaluation=evaluation,
        result=result,
        maps=maps,
        shares=[f"{share:g}" for share in maps.shares],
        headline=f"{share:g}",
        threshold=config.evaluate.threshold,
        verdicts=verdicts(maps.classes, result[f"{share:g}"], share, config.evaluate.threshold),
        rate=RATE,
        planted=_planted(evaluation, result),
        agreement=_agreement(maps),
        notes=_notes(directory, maps, share),
        patch=config.search.patch if SEARCHES[maps.method].patches else None,
        scored=method_of(maps).scored,
        images=drawn,
        drawn_classes=min(len(maps.classes), figures.MOST_CLASSES),
        sections=sections(directory, maps, share),
    )
    workdir.write_text(folder / "index.html", page)


def _draw(config: ConfigDict, classifier: Classifier, maps: DominantFrequencyMaps, test: Dataset, result: dict):
    share = maps.nearest(config.report.share)
    kept, names = maps.at(share)[: figures.MOST_CLASSES], maps.classes[: figures.MOST_CLASSES]
    yield "maps", figures.map_grid(kept, names, share)
    if maps.scores is not None:
        yield "scores", _score_grid(maps, names)
    keys = [f"{value:g}" for value in maps.shares]
    yield (
        "rates",
        figures.rates(
            list(maps.shares),
            [result[key]["tpr"][: figures.MOST_CLASSES] for key in keys],
            [result[key]["fpr"][: figures.MOST_CLASSES] for key in keys],
            names,
        ),
    )
    for label in range(len(names)):
        shown = np.flatnonzero(test.labels == label)[: config.report.samples]
        originals = test.images(shown)
        normalised = normalise(originals, *classifier.mean_std)
        filtered = np.asarray(spectrum.filter_images(normalised, jnp.asarray(kept[label : label + 1])))[0]
        pixels = filtered * classifier.mean_std[1] + classifier.mean_std[0]
        yield f"samples-{label}", figures.samples(originals / 255.0, pixels, names[label])
    if test.planted is not None and maps.scores is not None:
        yield "planted", _planted_figure(maps, truth_of(test.planted), result["planted"])


def _planted_figure(maps: DominantFrequencyMaps, truth: np.ndarray, recovery: dict) -> Figure:
    labels = np.flatnonzero(truth.any((1, 2)))
    found = [masks.best_orbits(maps.scores[label], int(truth[label].sum())) for label in labels]
    titles = [
        f"{maps.classes[label]}: {recovery[maps.classes[label]]['found']} of "
        f"{recovery[maps.classes[label]]['planted_orbits']} found"
        for label in labels
    ]
    return figures.planted_grid(np.stack(found), truth[labels], titles)


def _score_grid(maps: DominantFrequencyMaps, names: tuple[str, ...]) -> Figure:
    method = method_of(maps)
    return figures.score_grid(method.drawable(maps.scores[: figures.MOST_CLASSES]), names, method.scored)


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


def _notes(directory: Path, maps: DominantFrequencyMaps, share: float) -> list[str]:
    try:
        return notes(maps, share)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        file = directory / "dfm" / f"{maps.method}.npz"
        raise InputError(f"{file}: its provenance is not what a search leaves ({error!r})") from error


def _agreement(maps: DominantFrequencyMaps) -> dict:
    """How far a search in lower precision agrees with 'highest', in words; empty for one in 'highest'."""
    found = maps.provenance.get("agreement") or {}
    if not found:
        return {}
    return found | {name: in_words(found[name]) for name in ("spearman", "top_iou")}


def _stages(directory: Path, method: str) -> list[dict]:
    """Name and wall time of the stages behind this report."""
    records = []
    for key in ("train", f"search-{method}", f"evaluate-{method}"):
        file = directory / "stages" / f"{key}.json"
        if file.exists():
            record = workdir.read_json(file)
            seconds, devices = record.get("seconds"), record.get("devices")
            if not isinstance(seconds, int | float) or not isinstance(devices, str):
                raise InputError(f"{file}: not the record of a stage; delete it to have the stage run again")
            records.append({"name": key, "time": clock(seconds), "devices": devices})
    return records


def command_of(directory: Path) -> str:
    """The command that made the workdir, for a shell."""
    file = directory / "command.json"
    words = workdir.read_json(file) if file.exists() else []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{file}: not the words of a command; delete it")
    return shlex.join(words)
