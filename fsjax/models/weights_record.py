"""The record weights.json of weights that the config names: their hash, and what their inputs and outputs mean."""

import logging
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from fsjax.engine.model import Model
from fsjax.models import published_weights
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.checkpoints import chosen_hashes
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

NAME = "weights.json"
# Images of model.check that are compared, and the largest difference of logits over their standard deviation.
# Frameworks differ by a hundredth of it in float32, and an epsilon of 1e-3 in place of 1e-5 by more.
_CHECKED_IMAGES, _LOGITS_APART = 16, 1e-3


class Record(NamedTuple):
    """What weights.json says.

    Attributes:
      classes: display names in index order.
      frequencies: the packed frequencies that the network sees, as hexadecimal digits; '' = all.
    """

    classes: tuple[str, ...]
    frequencies: str


def write(
    config: ConfigDict,
    directory: Path,
    classes: tuple[str, ...],
    model: Model,
    outputs: tuple[int, ...],
    **others: str,
) -> None:
    """Check the logits of weights, log what was read, and write weights.json into a workdir.

    Args:
      config: names the weights.
      directory: the workdir.
      classes: display names of the data's classes.
      model: of the weights, without the filter of data.frequencies; its mean_std is recorded.
      outputs: all outputs, the outputs of the classes first.
      **others: further entries, such as `naming`.

    Raises:
      InputError: logits that differ from those in model.check.
    """
    if config.model.check:
        checked = f"; {check_logits(config.model.check, model)}"
    else:
        checked = "" if published_weights.weights_path(config).is_dir() else "; unchecked (model.check)"
    chosen, available = outputs[: len(classes)], len(outputs)
    note = f"; the classes are outputs {_some(chosen)}" if available > len(chosen) else ""
    name = config.model.name
    logger.info("train: nothing to train: weights of %s with %d outputs%s%s", name, available, note, checked)
    content = {
        "file": str(storage.path(config.model.weights).absolute()),
        "sha256": files.sha256(weights_file(config)),
        "model": name,
        "outputs": available,
        "classes": list(classes),
        "mean": model.mean_std[0].tolist(),
        "std": model.mean_std[1].tolist(),
        **others,
    }
    parallel.decide(lambda: files.write_json(directory / NAME, content))


def read(config: ConfigDict, directory: Path) -> Record:
    """Read the weights.json of a workdir.

    Raises:
      InputError: there is none, it is damaged, or the weights have changed since.
    """
    file = directory / NAME
    if not file.exists():
        raise InputError(
            f"{directory}: the weights are not read yet; run the stage train first (--config.stages=train,...)"
        )
    content = files.read_json(file)
    names = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: not the record of weights; delete it to have them read again")
    if content.get("sha256") != files.sha256(weights_file(config)):
        raise InputError(f"model.weights: {config.model.weights} has changed since; run the stage train again")
    return Record(tuple(names), content.get("data.frequencies", ""))


def weights_file(config: ConfigDict) -> Path:
    """Return the file in config.model.weights, or the hashes of a workdir's checkpoint."""
    path = published_weights.weights_path(config)
    file = chosen_hashes(path / "checkpoints", config.train.select) if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"model.weights: got {path}, {'without a trained model' if path.is_dir() else 'no file'}; expected PyTorch "
            "weights (also a folder with model.safetensors), a workdir with a trained model, or a .fsjax"
        )
    return file


def choose_outputs(
    config: ConfigDict, available: int, named: tuple[str, ...], classes: tuple[str, ...]
) -> tuple[int, ...]:
    """Return all outputs of weights, the outputs of the data's classes first: by model.outputs, by name or by place.

    Args:
      config: names the weights.
      available: number of outputs.
      named: names of the first outputs; () = not known.
      classes: display names of the data's classes.

    Raises:
      InputError: too few outputs, a class that has none, or a model.outputs that does not fit.
    """
    weights = config.model.weights
    if named and not config.model.outputs:
        if missing := [name for name in classes if name not in named]:
            raise InputError(
                f"model.weights: {weights} has no class {missing[0]!r}; expected data of its classes "
                f"({', '.join(named[:4])}{', ...' if len(named) > 4 else ''}), or model.outputs"
            )
        chosen = [named.index(name) for name in classes]
    elif available < len(classes):
        raise InputError(f"model.weights: {weights} has {available} outputs; the data has {len(classes)} classes")
    else:
        texts = [text.strip() for text in config.model.outputs.split(",")] if config.model.outputs else []
        chosen = [int(text) for text in texts if text.isdecimal() and int(text) < available]
        if texts and (len(set(chosen)) != len(texts) or len(texts) != len(classes)):
            raise InputError(
                f"model.outputs: got {config.model.outputs!r}; expected {len(classes)} different numbers from 0 to "
                f"{available - 1}, one a class of the data, separated by commas"
            )
        chosen = chosen or list(range(len(classes)))
    return (*chosen, *sorted(set(range(available)) - set(chosen)))


def check_logits(path: str, model: Model) -> str:
    """Return how far a model's logits are from PyTorch's in a file, in words.

    Args:
      path: an .npz: `images` float [n, 3, S, S] as the PyTorch module takes them, normalised, and `logits` [n, K].
      model: of images [S, S, 3].

    Raises:
      InputError: the file holds something else, or the logits differ by more than a thousandth of their spread.
    """
    field, size = "model.check", model.image_shape[0]
    content = files.read_npz(storage.path(path), ("images", "logits"))
    images, expected = content["images"][:_CHECKED_IMAGES], content["logits"][:_CHECKED_IMAGES]
    if images.shape[1:] != (3, size, size) or images.dtype.kind != "f" or not len(images):
        raise InputError(
            f"{field}: got images of {images.dtype} {list(images.shape)} in {path}; expected floats of [n, 3, {size}, "
            f"{size}], normalised"
        )
    if expected.ndim != 2 or len(expected) != len(images) or expected.dtype.kind != "f":
        raise InputError(f"{field}: got logits {list(expected.shape)} in {path}; expected floats of [{len(images)}, K]")
    if not np.isfinite(images).all() or not np.isfinite(expected).all() or not expected.std():
        raise InputError(f"{field}: got logits or images in {path} that are not finite, or all alike; expected others")
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(model.apply)(model.params, np.moveaxis(images, 1, -1).astype(np.float32))
    if logits.shape != expected.shape:
        raise InputError(f"{field}: got {expected.shape[1]} logits an image in {path}; expected {logits.shape[1]}")
    difference, spread = float(np.abs(np.asarray(logits, np.float64) - expected).max()), float(expected.std())
    if not difference <= _LOGITS_APART * spread:
        raise InputError(
            f"{field}: got logits that differ from PyTorch's in {path} by {difference:.2g}, where they spread by "
            f"{spread:.2g}; expected at most {_LOGITS_APART * spread:.2g}: weights of another model, or images of "
            "another normalisation"
        )
    return f"logits are those of {path}, to {difference:.1g}"


def _some(outputs: tuple[int, ...], shown: int = 10) -> str:
    return ", ".join(map(str, outputs[:shown])) + (", ..." if len(outputs) > shown else "")
