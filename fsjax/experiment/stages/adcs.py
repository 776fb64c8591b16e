"""The stage adcs: class-wise spectra of the data, without a model."""

import numpy as np
from ml_collections import ConfigDict

from fsjax import data
from fsjax.evaluation import adcs
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.report import figures, html
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of data or adcs that cannot be used."""
    data.check(config.data)
    if config.adcs.split not in ("train", "test"):
        raise InputError(f"adcs.split: got {config.adcs.split!r}; expected train, test")


def _measure(workspace: Workspace) -> None:
    options, directory = workspace.config.adcs, workspace.directory
    dataset = workspace.dataset(options.split)
    amplitudes = adcs.class_amplitudes(
        dataset.images,
        dataset.labels,
        len(dataset.classes),
        (dataset.image_size, dataset.image_size),
        workspace.mean_std,
        compat=options.compat,
    )
    scores = adcs.adcs(amplitudes, compat=options.compat)
    if not parallel.is_main_process():
        return
    largest = len(scores) - (not options.compat)
    figure = figures.adcs_grid(scores[: figures.MOST_CLASSES], dataset.classes, largest)
    html.embed_figure(figure, directory / "report" / "figures" / "adcs.png")
    files.write_npz(
        directory / "adcs.npz",
        adcs=scores,
        amplitudes=amplitudes.astype(np.float32),
        classes=np.array(dataset.classes, dtype=np.str_),
        images=np.bincount(dataset.labels, minlength=len(dataset.classes)),
        compat=np.array(options.compat),
        split=np.array(options.split),
    )


STAGE = Stage(
    name="adcs",
    fields=("seed", "data", "adcs"),
    check=check,
    outputs=lambda workspace: [
        workspace.directory / "adcs.npz",
        workspace.directory / "report" / "figures" / "adcs.png",
    ],
    run=_measure,
    splits=lambda config: (config.adcs.split,),
)
