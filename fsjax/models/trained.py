"""A network with its weights as they were trained, before anything is folded for evaluation."""

import contextlib
import dataclasses

import jax
import numpy as np
from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies
from fsjax.models.naming import OURS, Naming
from fsjax.models.network import Network
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network with its weights, and what its inputs and outputs mean.

    Attributes:
      network: the architecture.
      variables: its arrays.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      classes: display names in index order; the network may have more outputs.
      naming: what PyTorch calls the arrays, where they came from there.
      copied: whether they stood there twice.
      outputs: the network's outputs in the order that makes the first ones those of the classes; None = as they are.
    """

    network: Network
    variables: dict
    mean_std: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]
    naming: Naming = OURS
    copied: bool = False
    outputs: tuple[int, ...] | None = None


def from_checkpoint(config: ConfigDict, directory: Path) -> Trained:
    """What training left in a workdir: the weights of its last step, or those that train.select chooses.

    Raises:
      InputError: there is nothing, or it is of another architecture or other frequencies than the config's.
    """
    folder = directory / "checkpoints"
    with contextlib.closing(Checkpoints(folder)) as checkpoints:
        return _read(config, directory, checkpoints)


def _read(config: ConfigDict, directory: Path, checkpoints: Checkpoints) -> Trained:
    folder, step = checkpoints.directory, checkpoints.newest()
    if step is None:
        raise InputError(f"{directory}: no trained model; run the stage train first (--config.stages=train,...)")
    about = checkpoints.about(step)
    if about["model"] != config.model.name or about["image_size"] != config.data.image_size:
        raise InputError(
            f"{folder}: a {about['model']} for {about['image_size']} pixels; the config asks for "
            f"{config.model.name} and {config.data.image_size}"
        )
    if step != about["steps"]:
        raise InputError(
            f"{directory}: the newest whole checkpoint is of step {step} of {about['steps']}; "
            "delete stages/train.json there and run the stage train again: it goes on from that step"
        )
    if config.train.select == "best":
        step = checkpoints.best()
        if step is None:
            raise InputError(f"{folder}: no loss was measured; expected train.select='', the last step")
    network = models.build(about["model"], num_classes=len(about["classes"]), image_size=about["image_size"])
    network = network.limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    if network.packed_frequencies.hex() != about.get(frequencies.FIELD, ""):
        raise InputError(
            f"{folder}: trained on other frequencies than those of data.frequencies, {config.data.frequencies!r}"
        )
    like = jax.eval_shape(lambda: network.init(config.seed))
    variables = checkpoints.variables(step, like)
    return Trained(network, variables, (np.array(about["mean"]), np.array(about["std"])), tuple(about["classes"]))
