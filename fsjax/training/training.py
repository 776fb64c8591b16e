"""What a training needs and keeps from step to step: network, optimiser, ways, and the compiled step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies, stylised
from fsjax.data.augment import make_augment
from fsjax.data.dataset import Dataset
from fsjax.data.stylised import JoinedDataset
from fsjax.models.network import Network
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.training import optimizers, ways
from fsjax.training.settings import PRECISIONS, last_step, num_steps
from fsjax.training.step import Update, pmap_update
from fsjax.training.ways.way import Copies, Setting


@dataclasses.dataclass(frozen=True)
class Training:
    """What stays the same from step to step."""

    config: ConfigDict
    images: Dataset | JoinedDataset
    steps: int  # after which it ends
    start: Path | None  # the workdir of the run that it goes on from
    network: Network
    optimizer: optax.GradientTransformation
    average: optax.GradientTransformation | None  # of the weights
    plateau: optax.GradientTransformationExtraArgs
    update: Callable  # of step.pmap_update
    auxiliary: bool  # whether copies have BatchNorms of their own
    metadata: dict[str, Any]  # of each checkpoint


def build(config: ConfigDict, dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray], directory: Path) -> Training:
    """Return what a training with this config in this workdir needs; compiles and trains nothing."""
    options = config.train
    images: Dataset | JoinedDataset = dataset
    if options.stylised:
        images = stylised.join_stylised(dataset, options.stylised, config.data)
    network = models.build(
        config.model.name,
        num_classes=len(images.classes),
        image_size=config.data.image_size,
        dtype=PRECISIONS[options.precision],
    ).limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    network = dataclasses.replace(network, local_batch_norm=options.local_batch_norm)
    optimizer, steps = optimizers.make(options, num_steps(options, len(images))), last_step(options, len(images))
    average = optax.ema(options.ema_decay) if options.ema_decay else None
    changes = ways.make(Setting(options, config.data.image_size, images.classes, mean_std, directory))
    update = Update(
        network,
        optimizer,
        make_augment(options.augment, pad=options.pad, min_scale=options.min_scale),
        mean_std,
        config.seed,
        changes,
        average=average,
        label_smoothing=options.label_smoothing,
        accumulate=options.accumulate or 1,
    )
    metadata = {
        "model": config.model.name,
        "image_size": config.data.image_size,
        "classes": list(images.classes),
        "mean": [float(value) for value in mean_std[0]],
        "std": [float(value) for value in mean_std[1]],
        "steps": steps,
        **_file_hashes(config, network, directory),
    }
    plateau = optimizers.plateau(options)
    auxiliary = any(isinstance(way, Copies) and way.auxiliary for way in changes)
    start = ways.start(options, directory)
    return Training(
        config, images, steps, start, network, optimizer, average, plateau, pmap_update(update), auxiliary, metadata
    )


def _file_hashes(config: ConfigDict, network: Network, directory: Path) -> dict[str, str]:
    """Return field -> hexadecimal digest of the files that a training reads beside its images."""
    hashes = {field: files.sha256(file) for field, file in ways.files(config.train, directory).items()}
    if network.packed_frequencies:
        hashes[frequencies.FIELD] = network.packed_frequencies.hex()
    return hashes
