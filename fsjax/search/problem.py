"""What every search method is given."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree
from ml_collections import ConfigDict

from fsjax.runtime.metrics import Metrics
from fsjax.runtime.storage import Path

# How the forward passes of a search may be computed.
PRECISIONS = ("highest", "tensorfloat32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a search is given.

    Attributes:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: of the classifier.
      images: class index -> that class's images, normalised, always in the same order.
      counts: images of each class.
      classes: display names in index order.
      image: (H, W, C).
      options: config.search.
      run: config.run.
      searched_on: 'train' or 'test'.
      seed: of whatever a method draws at random.
      provenance: JSON values for the maps.
      directory: where partial results are kept; None = nowhere.
      metrics: where rates are written; None = nowhere.
      identity: names what partial results rest on, beside the parameters and the config.
      apply_bfloat16: the same as `apply` computed in bfloat16; None where there is no such form.
    """

    apply: Callable
    params: PyTree
    images: Callable[[int], Float[np.ndarray, "images height width channels"]]
    counts: tuple[int, ...]
    classes: tuple[str, ...]
    image: tuple[int, int, int]
    options: ConfigDict
    run: ConfigDict
    searched_on: str
    provenance: dict
    seed: int = 0
    directory: Path | None = None
    metrics: Metrics | None = None
    identity: str = ""
    apply_bfloat16: Callable | None = None

    @property
    def plane(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image[:2]

    @property
    def num_logits(self) -> int:
        """Outputs of the classifier; may be more than there are classes."""
        images = jax.ShapeDtypeStruct((1, *self.image), jnp.float32)
        return jax.eval_shape(self.apply, self.params, images).shape[-1]

    def at(self, precision: str) -> tuple[Callable, str]:
        """The apply for one of PRECISIONS, and what JAX is to be told of matrix products."""
        if precision != "bfloat16":
            return self.apply, precision
        assert self.apply_bfloat16 is not None, "without one, bfloat16 is refused at the door"
        return self.apply_bfloat16, "default"
