"""A trained classifier with what its inputs and outputs mean."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax.engine.model import Model
from fsjax.models import weights
from fsjax.models.folding import fold
from fsjax.models.trained import Trained, from_checkpoint
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier with what its inputs and outputs mean.

    Attributes:
      model: images [n, S, S, 3] float32 normalised -> logits [n, classes]. BatchNorm is folded into its parameters.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      classes: display names in index order.
    """

    model: Model
    mean_std: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]

    def check_classes(self, found: tuple[str, ...], where: str) -> None:
        """Raises InputError where another list of classes meets this classifier's."""
        if found != self.classes:
            raise InputError(
                f"{where}: its classes are {_short(found)}; the model was trained on {_short(self.classes)}"
            )


def load(config: ConfigDict, directory: Path) -> Classifier:
    """The classifier of a workdir, ready to be searched and evaluated.

    Raises:
      InputError: there is none, or it is of another architecture than the config's, or it has changed.
    """
    found = load_trained(config, directory)
    apply_bfloat16 = None
    if config.search.precision == "bfloat16":
        low = dataclasses.replace(found.network, dtype=jnp.dtype(jnp.bfloat16))
        apply_bfloat16 = fold(low, found.variables)[0]
    apply, folded = fold(found.network, found.variables)
    if found.outputs is not None:
        apply = _reordered(apply, found.outputs)
        apply_bfloat16 = apply_bfloat16 and _reordered(apply_bfloat16, found.outputs)
    size = config.data.image_size
    return Classifier(Model(apply, folded, (size, size, 3), apply_bfloat16), found.mean_std, found.classes)


def _reordered(apply: Callable, outputs: tuple[int, ...]) -> Callable:
    return lambda variables, images: apply(variables, images)[:, np.array(outputs)]


def load_trained(config: ConfigDict, directory: Path) -> Trained:
    """What `load` folds: the newest checkpoint of a workdir, or the weights that config.model.weights names."""
    source = weights.load if config.model.weights else from_checkpoint
    return source(config, directory)


def _short(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} ({', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''})"
