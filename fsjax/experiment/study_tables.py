"""The tables and the page of a study: means and spreads over seeds of what its runs measured."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from ml_collections import ConfigDict

from fsjax.evaluation import verdict
from fsjax.evaluation.ood.results import OodResult, result_file
from fsjax.evaluation.results import Rates, read_method
from fsjax.fourier import dfm
from fsjax.fourier.masks import chance_iou, iou
from fsjax.report import html, verdict_figures
from fsjax.report.page import shell_command
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search.patch_maps import stability_at_share

_GROUP = ["model", "training"]
_RATES = ["TPR unfiltered", "TPR", "TPR low", "TPR high", "FPR", "FPR low", "FPR high"]
# The median over seeds; infinite for a class whose psi stays below 1/2.
_SMALLEST = "smallest share"
# Means without a spread beside them.
_ALONE = ("seeds", _SMALLEST, "map IoU", "chance IoU", "TPR low", "TPR high")
_MOST_CLASSES = 12  # in the figures; the tables have all classes


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a study: a model, a way of training and a seed."""

    model: str
    variant: str
    seed: int
    directory: Path
    config: ConfigDict


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A run's maps at the share that the study shows, and a row for each class with the columns of the tables.

    Values of a whole run, such as its accuracy, are in each row.
    """

    cell: Cell
    masks: Bool[np.ndarray, "classes height width"]
    table: pd.DataFrame


def write(config: ConfigDict, directory: Path, grid: list[Cell]) -> None:
    """Write study/*.csv and tables.md, and report/study.html; print the summary.

    Raises InputError for runs that have different classes, or lack a result.
    """
    outcomes = [read(cell, config.report.share) for cell in grid]
    if len({tuple(outcome.table["class"]) for outcome in outcomes}) > 1:
        raise InputError(f"{directory}: its runs have different classes; expected one data set for a study")
    tables = {"summary": summary(outcomes), "classes": by_class(outcomes)}
    folder = directory / "study"
    for name, table in tables.items():
        files.write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_text(folder / "tables.md", "\n\n".join(map(as_markdown, tables.values())) + "\n")
    write_page(config, directory, outcomes, tables)
    print(as_markdown(tables["summary"]), flush=True)


def read(cell: Cell, share: float) -> Outcome:
    """Read the outcome of a run from its workdir, at the share of its maps nearest to `share`."""
    method = cell.config.search.method
    maps = dfm.DominantFrequencyMaps.load(dfm.file_in(cell.directory, method))
    share = maps.nearest(share)
    evaluation = read_method(cell.directory / "evaluation.json", method)
    rates, grafts = evaluation.methods[method].at(share), evaluation.methods[method].grafts
    resampled = stability_at_share(maps, share)
    columns: dict[str, Any] = {"class": maps.classes, "model": cell.model, "training": cell.variant, "seed": cell.seed}
    columns |= {"accuracy": evaluation.unfiltered.accuracy} | _rates("", evaluation.unfiltered.tpr, rates)
    columns |= {"above threshold": np.mean(rates.tpr > cell.config.evaluate.threshold)}
    columns |= dict.fromkeys(("psi", _SMALLEST, "shortcut"), np.nan)
    if grafts is not None:
        smallest = grafts.curve.smallest
        columns["psi"] = grafts.rates.psi
        columns[_SMALLEST] = np.where(np.isnan(smallest) & (grafts.baseline.pairs > 0), np.inf, smallest)
        columns["shortcut"] = [
            np.nan if decision.kind == "undecided" else float(decision.kind == "shortcut")
            for decision in grafts.verdicts
        ]
    columns["resampled IoU"] = np.array(resampled.get("mean", [None] * len(maps.classes)), float)
    if (ood_file := result_file(cell.directory, method)).exists():
        for name, measured in OodResult.read(ood_file).sets.items():
            controls = measured.control_rates
            columns |= {f"{name} accuracy": measured.accuracy}
            columns |= _rates(f"{name} ", measured.unfiltered.tpr, measured.filtered)
            columns |= {f"{name} trivial TPR": controls.trivial_tpr, f"{name} random TPR": controls.random_tpr}
            columns |= {f"{name} radial TPR": controls.radial_tpr}
    return Outcome(cell, maps.at(share), pd.DataFrame(columns))


def _rates(prefix: str, unfiltered_tpr: np.ndarray, rates: Rates) -> dict[str, np.ndarray]:
    columns = (unfiltered_tpr, rates.tpr, *rates.tpr_ci.T, rates.fpr, *rates.fpr_ci.T)
    return {prefix + name: column for name, column in zip(_RATES, columns, strict=True)}


def summary(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row for each model and way of training: accuracy, mean rates, shortcuts, stability of the maps.

    The smallest share is the median over classes and seeds, and missing where half of the values lack psi = 1/2.
    """
    classes = pd.concat([outcome.table for outcome in outcomes], join="inner", ignore_index=True)
    runs = classes.drop(columns=["class", _SMALLEST]).groupby([*_GROUP, "seed"], sort=False).mean().reset_index()
    seeds = runs.groupby(_GROUP, sort=False)["seed"].count().rename("seeds")
    smallest = classes.groupby(_GROUP, sort=False)[_SMALLEST].median()
    stability = _stability(outcomes).groupby(_GROUP, sort=False)[["map IoU", "chance IoU"]].mean()
    table = _with_spread(runs, _GROUP).join([seeds, smallest, stability]).reset_index()
    table.columns = table.columns.str.replace("shortcut", "shortcuts")
    sets = [name for name in table if name.removesuffix(" spread").endswith(" accuracy")]
    measured = ["accuracy", "TPR", "FPR", "above threshold", "psi", _SMALLEST, "shortcuts", "map IoU", "chance IoU"]
    shown = [*_GROUP, "seeds", *_beside_spread([*measured, "resampled IoU"]), *sets]
    return table[shown].replace(np.inf, np.nan)


def by_class(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row for each class, model and way of training: its rates on the test images and on other sets.

    "shortcut" is the share of decided runs that call the class a shortcut. "smallest share" is the median over seeds,
    and missing where half of the values lack psi = 1/2.
    """
    classes, by = pd.concat([outcome.table for outcome in outcomes], join="inner"), ["class", *_GROUP]
    order = classes["class"].unique().tolist()
    means = _with_spread(classes.drop(columns=_SMALLEST), by)
    smallest = classes.groupby(by, sort=False)[_SMALLEST].median()
    table = means.join([smallest, _stability(outcomes).set_index(by)]).reset_index()
    table = table.sort_values("class", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)
    first = _beside_spread([*_RATES, "psi", _SMALLEST, "shortcut", "map IoU", "chance IoU", "resampled IoU"])
    runs = [name for name in table if name.removesuffix(" spread").endswith(("accuracy", "above threshold"))]
    others = [name for name in table if name not in {*by, *first, *runs}]
    return table[[*by, *first, *others]].replace(np.inf, np.nan)


def _with_spread(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the means over seeds, each with its standard deviation (n - 1) beside it."""
    groups = table.drop(columns="seed").groupby(by, sort=False)
    means = groups.mean()
    return means.join(groups.std().add_suffix(" spread"))[_beside_spread(list(means))]


def _beside_spread(names: list[str]) -> list[str]:
    return [part for name in names for part in ([name] if name.endswith(_ALONE) else [name, f"{name} spread"])]


def _stability(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the mean IoU of each class's maps over pairs of seeds, and the mean IoU by chance."""
    rows = []
    for seeds in _groups(outcomes):
        for label, name in enumerate(seeds[0].table["class"]):
            pairs = itertools.combinations([seed.masks[label] for seed in seeds], 2)
            overlaps = np.array([(iou(*pair), chance_iou(*pair)) for pair in pairs], float).reshape(-1, 2)
            rows.append([name, seeds[0].cell.model, seeds[0].cell.variant, *pd.DataFrame(overlaps).mean()])
    return pd.DataFrame(rows, columns=["class", *_GROUP, "map IoU", "chance IoU"])


def _groups(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Return the seeds of each model and way of training."""
    return [list(g) for _, g in itertools.groupby(outcomes, key=lambda one: (one.cell.model, one.cell.variant))]


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table for a README."""
    words = in_words(table).map(lambda text: text.replace("|", r"\|"))
    words.columns = words.columns.str.replace("|", r"\|")
    return words.to_markdown(index=False, tablefmt="github", disable_numparse=True)


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return texts for a reader: three digits, 'mean ± spread' over seeds, a dash for no value."""
    words = table.map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value)).where(
        table.notna(), "–"
    )
    for name in table.columns[table.columns.str.endswith(" spread")]:
        words[name.removesuffix(" spread")] += (" ± " + words.pop(name)).where(table[name].notna(), "")
    return words


def write_page(config: ConfigDict, directory: Path, outcomes: list[Outcome], tables: dict[str, pd.DataFrame]) -> None:
    groups = _groups(outcomes)
    firsts = [seeds[0] for seeds in groups]
    names = tuple(firsts[0].table["class"][:_MOST_CLASSES])
    several = len({first.cell.model for first in firsts}) > 1
    labels = [f"{o.cell.model}\n{o.cell.variant}" if several else o.cell.variant for o in firsts]
    maps = verdict_figures.study_maps([first.masks[: len(names)] for first in firsts], labels, names)
    measured = [
        [np.stack([seed.table[column][: len(names)] for seed in seeds]) for seeds in groups]
        for column in ("TPR", "psi")
    ]
    rates = verdict_figures.study_rates(*measured, labels, names, config.evaluate.threshold)
    words = {name: in_words(table) for name, table in tables.items()}
    folders = [outcome.cell.directory for outcome in outcomes]
    html.write_page(
        directory,
        "study",
        {"study-maps": maps, "study-rates": rates},
        share=config.report.share,
        threshold=config.evaluate.threshold,
        rule=verdict.rule(),
        tables={name: (list(table), table.values.tolist()) for name, table in words.items()},
        drawn=len(names),
        classes=len(firsts[0].table),
        seeds=len(groups[0]),
        runs=[(folder.name, (folder / "report" / "index.html").exists()) for folder in folders],
        command=shell_command(directory),
    )
