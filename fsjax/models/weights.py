"""A classifier that was trained elsewhere: config.model.weights, a file of PyTorch weights or another workdir of ours.

Instead of training, the train stage reads the weights once, checks them, and leaves `weights.json`: which bytes they
were, and what their inputs and outputs mean. The weights stay where they are.
"""

import dataclasses
import logging

import numpy as np
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.models import state_dict, trained
from fsjax.models.trained import Trained
from fsjax.runtime import files, parallel, storage, torch_files
from fsjax.runtime.checkpoints import chosen_hashes
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

RECORD = "weights.json"


def take(config: ConfigDict, directory: Path, classes: tuple[str, ...]) -> None:
    """Reads and checks the weights that config.model.weights names and leaves weights.json.

    Args:
      config: data.mean and data.std are those that the weights were trained with.
      directory: the workdir.
      classes: display names of the data's classes, in the order of the weights' outputs.

    Raises:
      InputError: weights that are missing, damaged, or not the config's model; no mean and std; too few outputs.
    """
    found = _read(config)
    if found.classes and found.classes != classes:
        raise InputError(f"model.weights: {config.model.weights} was trained on other classes than the data's")
    outputs = found.network.num_classes
    chosen = _outputs(config, outputs, len(classes))[: len(classes)]
    which = f", of which the classes are {_some(chosen)}" if outputs > len(classes) else ""
    logger.info("train: weights of %s with %d outputs%s; nothing to train", config.model.name, outputs, which)
    mean, std = found.mean_std
    record = {
        "file": str(storage.path(config.model.weights).absolute()),
        "sha256": files.sha256(file_of(config)),
        "model": config.model.name,
        "naming": found.naming.name,
        "outputs": outputs,
        "classes": list(classes),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    if found.network.packed_frequencies:
        record[frequencies.FIELD] = found.network.packed_frequencies.hex()
    parallel.decide(lambda: files.write_json(directory / RECORD, record))


def load(config: ConfigDict, directory: Path) -> Trained:
    """The classifier that `take` has seen.

    Raises:
      InputError: it has seen none, or the weights have changed since.
    """
    file = directory / RECORD
    if not file.exists():
        raise InputError(
            f"{directory}: the weights are not read yet; run the stage train first (--config.stages=train,...)"
        )
    record = files.read_json(file)
    names = record.get("classes") if isinstance(record, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: not the record of weights; delete it to have them read again")
    if record.get("sha256") != files.sha256(file_of(config)):
        raise InputError(f"model.weights: {config.model.weights} has changed since; run the stage train again")
    found, classes = _read(config), tuple(record["classes"])
    if found.network.packed_frequencies.hex() != record.get(frequencies.FIELD, ""):
        raise InputError(f"data.frequencies: {config.data.frequencies!r} has changed since; run the stage train again")
    outputs = _outputs(config, found.network.num_classes, len(classes)) if config.model.outputs else None
    return dataclasses.replace(found, classes=classes, outputs=outputs)


def file_of(config: ConfigDict) -> Path:
    """The file that config.model.weights names, or that of the hashes of a workdir's checkpoint."""
    path = storage.path(config.model.weights)
    path = chosen_hashes(path / "checkpoints", config.train.select) if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"model.weights: no file {path}; expected PyTorch weights, or a workdir with a trained model")
    return path


def _outputs(config: ConfigDict, available: int, classes: int) -> tuple[int, ...]:
    """All outputs, those of the data's classes first."""
    file = config.model.weights
    if available < classes:
        raise InputError(f"model.weights: {file} has {available} outputs; the data has {classes} classes")
    texts = [text.strip() for text in config.model.outputs.split(",")] if config.model.outputs else []
    chosen = [int(text) for text in texts if text.isdecimal() and int(text) < available]
    if texts and (len(set(chosen)) != len(texts) or len(texts) != classes):
        raise InputError(
            f"model.outputs: got {config.model.outputs!r}; expected {classes} different numbers from 0 to "
            f"{available - 1}, one a class of the data, separated by commas"
        )
    chosen = chosen or list(range(classes))
    return (*chosen, *sorted(set(range(available)) - set(chosen)))


def _some(outputs: tuple[int, ...], shown: int = 10) -> str:
    return ", ".join(map(str, outputs[:shown])) + (", ..." if len(outputs) > shown else "")


def _read(config: ConfigDict) -> Trained:
    """The weights; from a file they have no classes."""
    path = storage.path(config.model.weights)
    if path.is_dir():
        return trained.from_checkpoint(config, path)
    if not config.data.mean:
        raise InputError(
            "data.mean: got nothing; expected with model.weights, the mean and std that they were trained with"
        )
    with storage.local(path) as file:
        state = torch_files.read(file)
    found = state_dict.to_variables(state, config.model.name, config.data.image_size, str(path))
    if found.positions:
        logger.info("the weights' positions, %d a side, are interpolated for this image size", found.positions)
    mean_std = (np.array(config.data.mean, float), np.array(config.data.std, float))
    network = found.network.limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    return Trained(network, found.variables, mean_std, (), found.naming, found.copied)
