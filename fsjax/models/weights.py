"""The weights of a run: its newest checkpoint, or those that config.model.weights names.

These are a file of PyTorch weights, a model file or another workdir of ours. Instead of training, the train stage then
reads them once, checks them, and leaves `weights.json`: their hash, and what their inputs and outputs mean. They stay
where they are.
"""

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.models import logits_check, state_dict, stored_weights, trained, weights_metadata
from fsjax.models.folding import fold
from fsjax.models.model_file import StoredModel
from fsjax.models.trained import TrainedNetwork
from fsjax.runtime import files, parallel, storage, torch_files
from fsjax.runtime.checkpoints import chosen_hashes
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

RECORD = "weights.json"


def load(config: ConfigDict, directory: Path) -> TrainedNetwork:
    """Load the trained network of a workdir.

    Raises:
      InputError: there is none, it is of another architecture or other frequencies than the config's, or the weights
        that the config names were not recorded or have changed since.
    """
    if not config.model.weights:
        return trained.from_checkpoint(config, directory)
    names, recorded = recorded_classes(config, directory)
    imported = _read(config)
    if imported.network.packed_frequencies.hex() != recorded.get(frequencies.FIELD, ""):
        raise InputError(f"data.frequencies: {config.data.frequencies!r} has changed since; run the stage train again")
    outputs = _outputs(config, imported.network.num_classes, len(names)) if config.model.outputs else None
    return dataclasses.replace(imported, classes=names, outputs=outputs)


def recorded_classes(config: ConfigDict, directory: Path) -> tuple[tuple[str, ...], dict]:
    """Return the classes of the weights that a workdir's weights.json records, and the record; errors as of `load`."""
    file = directory / RECORD
    if not file.exists():
        raise InputError(
            f"{directory}: the weights are not read yet; run the stage train first (--config.stages=train,...)"
        )
    recorded = files.read_json(file)
    names = recorded.get("classes") if isinstance(recorded, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: not the record of weights; delete it to have them read again")
    if recorded.get("sha256") != files.sha256(file_of(config)):
        raise InputError(f"model.weights: {config.model.weights} has changed since; run the stage train again")
    return tuple(names), recorded


def record(config: ConfigDict, directory: Path, classes: tuple[str, ...]) -> None:
    """Check the weights that config.model.weights names and leave weights.json in the workdir.

    Args:
      config: data.mean and data.std are those that the weights were trained with.
      directory: the workdir.
      classes: display names of the data's classes, in the order of the weights' outputs.

    Raises:
      InputError: weights that are missing, damaged, or not the config's model; no mean and std; too few outputs.
    """
    if stored_weights.is_stored(config):
        _record_stored(config, directory, classes)
        return
    imported = _read(config)
    if imported.classes and imported.classes != classes:
        raise InputError(f"model.weights: {config.model.weights} was trained on other classes than the data's")
    available = imported.network.num_classes
    chosen = _outputs(config, available, len(classes))[: len(classes)]
    content = _content(config, imported.naming.name, available, classes, imported.mean_std)
    checked = _checked(config, lambda: fold(imported.network.limited_to(None), imported.variables))
    _log(config, available, chosen, checked)
    if imported.network.packed_frequencies:
        content[frequencies.FIELD] = imported.network.packed_frequencies.hex()
    parallel.decide(lambda: files.write_json(directory / RECORD, content))


def _record_stored(config: ConfigDict, directory: Path, classes: tuple[str, ...]) -> None:
    if stored_weights.is_converted(config):
        parallel.decide(lambda: stored_weights.convert(config, directory))
    stored = stored_weights.read(config, directory)
    chosen = stored_outputs(config, stored, classes)[: len(classes)]
    mean_std = stored_weights.mean_std(config, stored)
    content = _content(config, "model file", stored.outputs, classes, mean_std)
    _log(config, stored.outputs, chosen, _checked(config, lambda: (stored.apply, stored.arrays)))
    parallel.decide(lambda: files.write_json(directory / RECORD, content))


def _checked(config: ConfigDict, model: Callable[[], tuple[Callable, PyTree]]) -> str:
    """Return what is known of the logits, in words; raise InputError where they are not those of model.check."""
    if config.model.check:
        return f"; {logits_check.check(config.model.check, *model(), config.data.image_size)}"
    return "" if weights_metadata.weights_path(config).is_dir() else "; unchecked (model.check)"


def _log(config: ConfigDict, available: int, chosen: tuple[int, ...], checked: str) -> None:
    note = f"; the classes are outputs {_some(chosen)}" if available > len(chosen) else ""
    logger.info(
        "train: nothing to train: weights of %s with %d outputs%s%s", config.model.name, available, note, checked
    )


def _content(
    config: ConfigDict, naming: str, outputs: int, classes: tuple[str, ...], mean_std: tuple[np.ndarray, np.ndarray]
) -> dict:
    return {
        "file": str(storage.path(config.model.weights).absolute()),
        "sha256": files.sha256(file_of(config)),
        "model": config.model.name,
        "naming": naming,
        "outputs": outputs,
        "classes": list(classes),
        "mean": mean_std[0].tolist(),
        "std": mean_std[1].tolist(),
    }


def stored_outputs(config: ConfigDict, stored: StoredModel, classes: tuple[str, ...]) -> tuple[int, ...]:
    """Return all outputs of a stored model, those of the data's classes first: by model.outputs, or by their names."""
    if config.model.outputs or not stored.classes:
        return _outputs(config, stored.outputs, len(classes))
    if missing := [name for name in classes if name not in stored.classes]:
        raise InputError(
            f"model.weights: {config.model.weights} has no class {missing[0]!r}; expected data of its classes "
            f"({', '.join(stored.classes[:4])}{', ...' if len(stored.classes) > 4 else ''}), or model.outputs"
        )
    chosen = [stored.classes.index(name) for name in classes]
    return (*chosen, *sorted(set(range(stored.outputs)) - set(chosen)))


def file_of(config: ConfigDict) -> Path:
    """Return the file that config.model.weights names, or that of the hashes of a workdir's checkpoint."""
    path = weights_metadata.weights_path(config)
    file = chosen_hashes(path / "checkpoints", config.train.select) if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"model.weights: got {path}, {'without a trained model' if path.is_dir() else 'no file'}; expected PyTorch "
            "weights (also a folder with model.safetensors), a workdir with a trained model, or a .fsjax"
        )
    return file


def _read(config: ConfigDict) -> TrainedNetwork:
    """Return the network with the weights that the config names; from a file it has no classes."""
    path = weights_metadata.weights_path(config)
    if path.is_dir():
        return trained.from_checkpoint(config, path)
    metadata = weights_metadata.beside(path)
    mean_std = weights_metadata.mean_std(config, metadata)
    with storage.local(path) as file:
        state = torch_files.read(file)
    imported = state_dict.to_variables(state, config.model.name, config.data.image_size, str(path))
    if imported.positions:
        logger.info("interpolated the weights' positions, %d a side, to this image size", imported.positions)
    if metadata:
        weights_metadata.check(metadata, config, imported.network.num_classes)
    network = imported.network.limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    return TrainedNetwork(network, imported.variables, mean_std, (), imported.naming, imported.copied)


def _outputs(config: ConfigDict, available: int, classes: int) -> tuple[int, ...]:
    """Return all outputs, those of the data's classes first."""
    if available < classes:
        raise InputError(
            f"model.weights: {config.model.weights} has {available} outputs; the data has {classes} classes"
        )
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
