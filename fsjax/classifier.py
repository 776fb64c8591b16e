"""A trained classifier with what its inputs and outputs mean."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from fsjax import models
from fsjax.checkpoints import Checkpoints
from fsjax.errors import InputError
from fsjax.models.folding import fold


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier with what its inputs and outputs mean.

    Attributes:
      apply: (variables, images [n, S, S, 3] float32 normalised) -> logits [n, classes].
      variables: what `apply` takes first: parameters with BatchNorm folded in, since nothing is trained here.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      classes: display names in index order.
      apply_bfloat16: the same, computed in bfloat16; None where there is no such form.
    """

    apply: Callable
    variables: PyTree
    mean_std: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]
    apply_bfloat16: Callable | None = None

    def check_classes(self, found: tuple[str, ...], where: str) -> None:
        """Raises InputError where another list of classes meets this classifier's."""
        if found != self.classes:
            raise InputError(
                f"{where}: its classes are {_short(found)}; the model was trained on {_short(self.classes)}"
            )


def load(config: ConfigDict, directory: pathlib.Path) -> Classifier:
    """The classifier that the train stage left in a workdir.

    Raises:
      InputError: there is none, or it is of another architecture than the config's.
    """
    folder = directory / "checkpoints"
    checkpoints = Checkpoints(folder) if folder.exists() else None
    step = checkpoints.newest() if checkpoints else None
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
    network = models.build(about["model"], num_classes=len(about["classes"]), image_size=about["image_size"])
    like = jax.eval_shape(lambda: network.init(config.seed))
    variables = checkpoints.variables(step, like)
    checkpoints.close()
    mean_std = (np.array(about["mean"]), np.array(about["std"]))
    apply, folded = fold(network, variables)
    apply_bfloat16, _ = fold(dataclasses.replace(network, dtype=jnp.dtype(jnp.bfloat16)), variables)
    return Classifier(apply, folded, mean_std, tuple(about["classes"]), apply_bfloat16)


def _short(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} ({', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''})"
