"""A network with its weights as training gave them, before BatchNorm is folded for evaluation."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies
from fsjax.engine.model import NORMALISED, Model
from fsjax.models.naming import OURS, Naming
from fsjax.models.network import Network, fold
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, and what its inputs and outputs mean."""

    network: Network
    variables: dict
    mean_std: tuple[np.ndarray, np.ndarray] = NORMALISED  # of pixels in [0, 1], per channel; NORMALISED = not known
    classes: tuple[str, ...] = ()  # display names in index order; the network may have more outputs
    naming: Naming = OURS  # what PyTorch calls the arrays, where they came from there
    copied: bool = False  # whether the state dict held some arrays twice

    def model(self, *, bfloat16: bool = False, empty: bool = False) -> Model:
        """Return the model for evaluation, with BatchNorm folded into the parameters, and a bfloat16 form if asked.

        With `empty` the variables are emptied, so that no array is in memory twice.
        """
        low = dataclasses.replace(self.network, dtype=jnp.dtype(jnp.bfloat16))
        apply_low = fold(low, self.variables)[0] if bfloat16 else None
        apply, params = fold(self.network, self.variables, empty=empty)
        size = self.network.image_size
        return Model(apply, params, (size, size, 3), self.classes, self.mean_std, apply_low)


def load_checkpoint(config: ConfigDict, directory: Path) -> TrainedNetwork:
    """Load what training left in a workdir: the weights of its last step.

    Raises InputError for no or unfinished training, and for another architecture or frequencies than the config's.
    """
    with contextlib.closing(Checkpoints(directory / "checkpoints")) as checkpoints:
        step = checkpoints.newest()
        if step is None:
            raise InputError(f"{directory}: no trained model; run the stage train first (--config.stages=train,...)")
        metadata = checkpoints.metadata(step)
        given, trained = (config.model.name, config.data.image_size), (metadata["model"], metadata["image_size"])
        if given != trained:
            expected = f"the values of the model in {directory}: {trained[0]}, {trained[1]}"
            raise InputError(f"model.name, data.image_size: got {given[0]}, {given[1]}; expected {expected}")
        if step != metadata["steps"]:
            raise InputError(
                f"{directory}: the newest whole checkpoint is of step {step} of {metadata['steps']}; delete "
                "stages/train.json there and run the stage train again: it resumes from that step"
            )
        classes, size = tuple(metadata["classes"]), config.data.image_size
        network = models.build(config.model.name, num_classes=len(classes), image_size=size)
        network = network.limited_to(frequencies.read(config.data.frequencies, size))
        if network.packed_frequencies.hex() != metadata.get(frequencies.FIELD, ""):
            expected = f"the frequencies that the model in {directory} was trained on"
            raise InputError(f"{frequencies.FIELD}: got {config.data.frequencies!r}; expected {expected}")
        variables = checkpoints.restore("variables", step, jax.eval_shape(lambda: network.init(config.seed)))
    return TrainedNetwork(network, variables, (np.array(metadata["mean"]), np.array(metadata["std"])), classes)
