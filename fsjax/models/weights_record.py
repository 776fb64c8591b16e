"""The record weights.json of weights that the config names: their hash, and what their inputs and outputs mean."""

import dataclasses
import logging
from collections.abc import Callable
from itertools import chain
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fsjax.data import imagenet
from fsjax.data.source import parse_classes
from fsjax.engine.model import Model
from fsjax.models import published_weights
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.checkpoints import newest_hashes
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

NAME = "weights.json"
# Images of model.check that are compared, and the largest difference of logits over their standard deviation.
# Frameworks differ by a hundredth of that limit in float32, and an epsilon of 1e-3 in place of 1e-5 by more.
_CHECKED_IMAGES, _APART = 16, 1e-3


def write(config: ConfigDict, directory: Path, classes: tuple[str, ...], model: Model, **others: str) -> None:
    """Check the logits of weights, and write the log line and a workdir's weights.json.

    `model` has the weights, without the filter of data.frequencies; `others` are further entries, such as `naming`.
    """
    outputs = _choose_outputs(config, model, classes)
    checked = check_logits(config.model.check, model) if config.model.check else "unchecked (model.check)"
    logger.info("train: nothing to train: weights of %s, %d outputs; %s", config.model.name, len(outputs), checked)
    content = {
        "file": str(storage.path(config.model.weights).absolute()),
        "sha256": files.sha256(weights_file(config)),
        "model": config.model.name,
        "outputs": len(outputs),
        "classes": list(classes),
        "mean": model.mean_std[0].tolist(),
        "std": model.mean_std[1].tolist(),
        **others,
    }
    parallel.decide(lambda: files.write_json(directory / NAME, content))


def read(config: ConfigDict, directory: Path) -> dict[str, Any]:
    """Return a workdir's weights.json; raise InputError where there is none, or the weights have changed since."""
    file = directory / NAME
    if not file.exists():
        raise InputError(
            f"{directory}: the weights are not read yet; run the stage train first (--config.stages=train,...)"
        )
    content = files.read_json(file)
    if content["sha256"] != files.sha256(weights_file(config)):
        raise InputError(f"model.weights: {config.model.weights} has changed since; run the stage train again")
    return content


def weights_file(config: ConfigDict) -> Path:
    """Return the file in config.model.weights, or the hashes of a workdir's checkpoint."""
    path = published_weights.weights_path(config)
    file = newest_hashes(path / "checkpoints") if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"model.weights: got {path}, {'without a trained model' if path.is_dir() else 'no file'}; expected PyTorch "
            "weights (also a folder with model.safetensors), a workdir with a trained model, or a .fsjax"
        )
    return file


def order_outputs(config: ConfigDict, model: Model, classes: tuple[str, ...]) -> Model:
    """Return the model with the logits of the data's `classes`, which weights.json names, first.

    The other outputs keep their names in the model file or in ImageNet, or their numbers. The logit of a class with
    several outputs is their logsumexp, so that its probability is the sum of theirs.
    """
    groups = _choose_outputs(config, model, classes)
    names = model.classes or (tuple(imagenet.names().values()) if config.model.outputs == imagenet.CLASSES else ())
    others = [names[index] if index < len(names) else f"output {index}" for (index,) in groups[len(classes) :]]
    model, widest = dataclasses.replace(model, classes=classes, others=tuple(others)), max(map(len, groups))
    # Rows of a group are filled up with its first output, whose weight there is 0.
    order = np.array([group + group[:1] * (widest - len(group)) for group in groups])
    weights = np.arange(widest) < np.array([[len(group)] for group in groups])

    def ordered(apply: Callable) -> Callable:
        if widest == 1:
            return lambda params, images: apply(params, images)[:, order[:, 0]]
        return lambda params, images: jax.nn.logsumexp(apply(params, images)[:, order], axis=-1, b=weights)

    if order.tolist() == [[index] for index in range(len(order))]:
        return model
    low = model.apply_bfloat16 and ordered(model.apply_bfloat16)
    return dataclasses.replace(model, apply=ordered(model.apply), apply_bfloat16=low)


def _choose_outputs(config: ConfigDict, model: Model, classes: tuple[str, ...]) -> list[list[int]]:
    """Return a model's outputs, the data's classes first: by model.outputs, by name or by place; then the others."""
    available, named = model.num_logits, model.classes
    weights, given, count = config.model.weights, config.model.outputs, len(classes)
    chosen: list[list[int]]
    if named and not given:
        if missing := [name for name in classes if name not in named]:
            raise InputError(
                f"model.weights: {weights} has no class {missing[0]!r}; expected data of its classes "
                f"({', '.join(named[:4])}{', ...' if len(named) > 4 else ''}), or model.outputs"
            )
        chosen = [[named.index(name)] for name in classes]
    elif available < count:
        raise InputError(f"model.weights: {weights} has {available} outputs; the data has {count} classes")
    elif given == imagenet.CLASSES:
        if available != len(imagenet.names()):
            raise InputError(f"model.outputs: got {given!r} for {weights} with {available} outputs; expected 1000")
        folders = {display: name for name, display in parse_classes(config.data.classes)}
        wnids = [folders.get(name, name) for name in classes]
        chosen = [[index] for index in imagenet.outputs(wnids, f"model.outputs={given}")]
    elif given:
        texts = [[text.strip() for text in group.split("|")] for group in given.split(",")]
        chosen = [[int(text) for text in group if text.isdecimal() and int(text) < available] for group in texts]
        if len({*chain(*chosen)}) != sum(map(len, texts)) or len(texts) != count:
            raise InputError(
                f"model.outputs: got {given!r}; expected {count} different numbers from 0 to {available - 1}, one a "
                "class of the data, or several as 3|5, separated by commas; or imagenet"
            )
    else:
        chosen = [[index] for index in range(count)]
    return [*chosen, *([index] for index in sorted(set(range(available)) - {*chain(*chosen)}))]


def check_logits(path: str, model: Model) -> str:
    """Return how far a model's logits are from PyTorch's in a file, in words.

    Args:
      path: an .npz: `images` float [n, 3, S, S] as the PyTorch module takes them, normalised, and `logits` [n, K].
      model: of images [S, S, 3].

    Raises:
      InputError: the file holds something else, or the logits differ by more than a thousandth of their spread.
    """
    content, size = files.read_npz(storage.path(path), ("images", "logits")), model.image_shape[0]
    images, expected = content["images"][:_CHECKED_IMAGES], content["logits"][:_CHECKED_IMAGES]
    shapes = (len(images), 3, size, size), (len(images), model.num_logits)
    if (images.shape, expected.shape) != shapes or images.dtype.kind != "f" or not len(images):
        raise InputError(
            f"model.check: got images {list(images.shape)} of {images.dtype} and logits {list(expected.shape)} in "
            f"{path}; expected floats [n, 3, {size}, {size}], normalised, and [n, {model.num_logits}]"
        )
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(model.apply)(model.params, np.moveaxis(images, 1, -1).astype(np.float32))
    difference, spread = float(np.abs(np.asarray(logits, np.float64) - expected).max()), float(expected.std())
    if not difference <= _APART * spread:
        raise InputError(
            f"model.check: got logits that differ from PyTorch's in {path} by {difference:.2g}, where they spread by "
            f"{spread:.2g}; expected at most {_APART * spread:.2g}: weights of another model, or images of another "
            "normalisation"
        )
    return f"logits match {path}, to {difference:.1g}"
