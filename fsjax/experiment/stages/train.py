"""Trains the classifier, or takes weights that were trained elsewhere."""

from ml_collections import ConfigDict

from fsjax import data, models
from fsjax.data import frequencies
from fsjax.experiment.run import Run
from fsjax.experiment.stages.stage import Stage
from fsjax.models import weights
from fsjax.runtime import files, parallel
from fsjax.runtime.checkpoints import chosen_hashes
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training import dfmx, train
from fsjax.training.evaluators import dynamics


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of data, model or train that cannot be used."""
    data.check(config.data)
    frequencies.read(config.data.frequencies, config.data.image_size)
    models.build(config.model.name, num_classes=2, image_size=config.data.image_size)
    if not config.model.weights:
        if config.model.outputs:
            raise InputError(f"model.outputs: got {config.model.outputs!r}; expected '' without model.weights")
        train.check(config)
        dynamics.check(config.dynamics)


def _run(current: Run) -> None:
    if current.config.model.weights:
        weights.take(current.config, current.directory, current.dataset("test").classes)
        return
    training = current.dataset("train")
    if training.planted is not None and parallel.is_main_process():
        files.write_npz(current.directory / "planted.npz", **training.planted)
    train.train(current.config, current.dataset, current.mean_std, current.directory, current.metrics)


def _trained_file(current: Run) -> Path:
    """The file that stands for the content of the model: hashes of its checkpoint, or record of the weights."""
    config, directory = current.config, current.directory
    if config.model.weights:
        return directory / weights.RECORD
    return chosen_hashes(directory / "checkpoints", config.train.select)


def weights_file(current: Run) -> list[Path]:
    """The file of weights that the config names, if any."""
    return [weights.file_of(current.config)] if current.config.model.weights else []


def _files_read(current: Run) -> list[Path]:
    config = current.config
    maps = None if config.model.weights else dfmx.file_of(config.train.dfmx)
    others = (maps, frequencies.file_of(config.data.frequencies))
    return [*weights_file(current), *(file for file in others if file)]


STAGE = Stage(
    name="train",
    fields=("seed", "data", "model", "train", "dynamics.keep", "dynamics.images_per_class"),
    check=check,
    outputs=lambda run: [_trained_file(run)],
    run=_run,
    reads=_files_read,
    partial=lambda config: not config.model.weights,
)
