"""The stage heat_map: the classifier's error rate on test images with one Fourier wave added."""

import math

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.normalisation import normalise
from fsjax.data.selection import sample_of_class
from fsjax.evaluation import heat_map
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of heat_map that cannot be used."""
    norm, count = config.heat_map.norm, config.heat_map.images_per_class
    if not 0 < norm < math.inf:
        raise InputError(f"heat_map.norm: got {norm:g}; expected a number above 0")
    if count < 0:
        raise InputError(f"heat_map.images_per_class: got {count}; expected 0 (all) or more")


def _measure(workspace: Workspace) -> None:
    config, classifier, test = workspace.config, workspace.classifier, workspace.dataset("test")
    classifier.check_classes(test.classes, "data split test")
    chosen = np.concatenate(
        [
            sample_of_class(test.labels, label, config.heat_map.images_per_class, config.seed)
            for label in range(len(test.classes))
        ]
    )
    rates = heat_map.measure(
        classifier,
        lambda part: np.asarray(normalise(test.images(chosen[part]), *classifier.mean_std)),
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


STAGE = Stage(
    name="heat_map",
    fields=("heat_map",),
    needs=(train.STAGE,),
    check=check,
    outputs=lambda workspace: [workspace.directory / "heat_map.npz"],
    run=_measure,
    partial=lambda config: "heat_map",
    splits=lambda config: ("test",),
)
