"""The stage train: trains the classifier, or imports weights that were trained elsewhere."""

from ml_collections import ConfigDict

from fsjax import data, models
from fsjax.data import frequencies
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.models import stored_weights, weights
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.checkpoints import chosen_hashes
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training import loop, settings, ways
from fsjax.training.evaluators import dynamics


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of data, model or train that cannot be used."""
    data.check(config.data)
    frequencies.read(config.data.frequencies, config.data.image_size)
    if stored_weights.is_stored(config):
        stored_weights.check(config)
    else:
        models.build(config.model.name, num_classes=2, image_size=config.data.image_size)
    if config.model.check and not (config.model.weights and storage.path(config.model.check).is_file()):
        raise InputError(
            f"model.check: got {config.model.check!r}; expected an .npz of images and logits, with model.weights"
        )
    if not config.model.weights:
        if config.model.outputs:
            raise InputError(f"model.outputs: got {config.model.outputs!r}; expected '' without model.weights")
        settings.check(config)
        dynamics.check(config.dynamics)


def _train(workspace: Workspace) -> None:
    if workspace.config.model.weights:
        weights.record(workspace.config, workspace.directory, workspace.dataset("test").classes)
        return
    training = workspace.dataset("train")
    if training.planted is not None and parallel.is_main_process():
        files.write_npz(workspace.directory / "planted.npz", **training.planted)
    loop.train(workspace.config, workspace.dataset, workspace.mean_std, workspace.directory, workspace.metrics)


def _trained_file(workspace: Workspace) -> Path:
    """Return the file that identifies the model: the hashes of its checkpoint, or the record of imported weights."""
    config, directory = workspace.config, workspace.directory
    if config.model.weights:
        return directory / weights.RECORD
    return chosen_hashes(directory / "checkpoints", config.train.select)


def weights_file(workspace: Workspace) -> list[Path]:
    """Return the file of weights that the config names, if any."""
    return [weights.file_of(workspace.config)] if workspace.config.model.weights else []


def _files_read(workspace: Workspace) -> list[Path]:
    config = workspace.config
    of_ways = {} if config.model.weights else ways.files(config.train, workspace.directory)
    checked = storage.path(config.model.check) if config.model.check else None
    others = (*of_ways.values(), frequencies.file_of(config.data.frequencies), checked)
    return [*weights_file(workspace), *(file for file in others if file)]


def _splits(config: ConfigDict) -> tuple[str, ...]:
    if config.model.weights:
        return ("test",)
    called = config.train.evaluators.split(",")
    validation = ("validation",) if config.data.validation_share and "validation" in called else ()
    return ("train", *validation, *(("test",) if "dynamics" in called else ()))


STAGE = Stage(
    name="train",
    fields=("seed", "data", "model", "train", "dynamics.keep", "dynamics.images_per_class"),
    check=check,
    outputs=lambda workspace: [_trained_file(workspace)],
    run=_train,
    reads=_files_read,
    partial=lambda config: "checkpoints",
    splits=_splits,
)
