"""Two stages without a search: adcs compares the classes' spectra, heat_map measures errors under one Fourier wave."""

import numpy as np
from ml_collections import ConfigDict

from fsjax import data
from fsjax.data.normalisation import normalise
from fsjax.data.selection import sample_of_class
from fsjax.evaluation import adcs, heat_map
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import search, train
from fsjax.report import figures, html
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import check_known


def _check_adcs(config: ConfigDict) -> None:
    data.check(config.data)
    check_known("adcs.split", config.adcs.split, ("train", "test"))


def _measure_adcs(workspace: Workspace) -> None:
    options, directory = workspace.config.adcs, workspace.directory
    dataset = workspace.dataset(options.split)
    count, plane = len(dataset.classes), (dataset.image_size, dataset.image_size)
    amplitudes = adcs.class_amplitudes(
        dataset.images, dataset.labels, count, plane, workspace.mean_std, compat=options.compat
    )
    scores = adcs.adcs(amplitudes, compat=options.compat)
    if not parallel.is_main_process():
        return
    figure = figures.adcs_grid(scores[: figures.MOST_CLASSES], dataset.classes, len(scores) - (not options.compat))
    html.embed_figure(figure, directory / "report" / "figures" / "adcs.png")
    files.write_npz(
        directory / "adcs.npz",
        adcs=scores,
        amplitudes=amplitudes.astype(np.float32),
        classes=np.array(dataset.classes, dtype=np.str_),
        images=np.bincount(dataset.labels, minlength=count),
        compat=np.array(options.compat),
        split=np.array(options.split),
    )


ADCS = Stage(
    name="adcs",
    fields=("seed", "data", "adcs"),
    check=_check_adcs,
    outputs=lambda workspace: [workspace.directory / name for name in ("adcs.npz", "report/figures/adcs.png")],
    run=_measure_adcs,
    splits=lambda config: (config.adcs.split,),
)


def _measure_heat_map(workspace: Workspace) -> None:
    config, classifier, test = workspace.config, workspace.classifier, workspace.dataset("test")
    classifier.check_classes(test.classes, "data split test")
    per_class, labels = config.heat_map.images_per_class, range(len(test.classes))
    chosen = np.concatenate([sample_of_class(test.labels, label, per_class, config.seed) for label in labels])
    rates = heat_map.measure(
        classifier.at(config.search.precision, config.search.transform),
        lambda part: normalise(test.images(chosen[part]), *classifier.mean_std),
        test.labels[chosen],
        len(test.classes),
        classifier.mean_std[1],
        norm=config.heat_map.norm,
        seed=config.seed,
        memory_mib=config.run.memory_mib,
        save_seconds=config.run.save_seconds,
        directory=workspace.directory / "heat_map",
    )
    if parallel.is_main_process():
        files.write_npz(
            workspace.directory / "heat_map.npz",
            error=rates.error.astype(np.float32),
            class_error=rates.class_error.astype(np.float32),
            clean_error=rates.clean_error.astype(np.float32),
            images=rates.images,
            classes=np.array(test.classes, dtype=np.str_),
            norm=np.array(config.heat_map.norm),
        )


HEAT_MAP = Stage(
    name="heat_map",
    fields=("heat_map", "search.precision", "search.transform"),
    needs=(train.STAGE,),
    check=search.check,
    outputs=lambda workspace: [workspace.directory / "heat_map.npz"],
    run=_measure_heat_map,
    partial=lambda config: "heat_map",
    splits=lambda config: ("test",),
)
