"""Do operations, such as JPEG, at random to training images of every class.

A network cannot learn a class by the traces of an operation that other classes' images have as well.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from ml_collections import ConfigDict

from fsjax.data.operations import OPERATIONS, Drawn, Pixels
from fsjax.runtime import config_fields, files
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream
from fsjax.runtime.storage import Path
from fsjax.training.ways import way
from fsjax.training.ways.graft import PROBE, start_file
from fsjax.training.ways.way import Images, Keys, Labels, Setting, Transform, Way

FIELD = "train.operations.names"
# Probability of each operation, for each image: a class whose images all have the trace stays nearly as likely.
PROBABILITY = 0.9

FIELDS: Table = {
    "names": (
        "",
        f"some of {', '.join(OPERATIONS)}, separated by commas, in their order; {PROBE!r} = what the stage probe finds",
    )
}


def make_operations(
    names: tuple[str, ...], mean_std: tuple[np.ndarray, np.ndarray], probability: float = PROBABILITY
) -> Transform:
    """Return (keys, labels, normalised images) -> images; jit-able, the same for an image in any batch.

    Each image meets each operation of `names` with `probability`. mean_std, of pixels in [0, 1], normalised the images.
    """

    def change(key: Drawn, pixels: Pixels) -> tuple[Pixels, Bool[Array, ""]]:
        changed = jnp.array(False)
        for name in names:
            number = list(OPERATIONS).index(name)
            whether, drawn = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, Stream.OPERATIONS), number))
            done = jax.random.bernoulli(whether, probability)
            pixels = jnp.where(done, jnp.clip(OPERATIONS[name](drawn, pixels), 0, 1), pixels)
            changed |= done
        return pixels, changed

    def apply(keys: Keys, labels: Labels, images: Images) -> Images:
        pixels, changed = jax.vmap(change)(keys, way.to_pixels(images, mean_std))
        return jnp.where(changed[:, None, None, None], way.from_pixels(pixels, mean_std), images)

    return apply


def _read(options: ConfigDict, directory: Path) -> tuple[str, ...]:
    """Return the operations of a training, in a workdir that may have probes; raise InputError for unknown names."""
    if options.operations.names == PROBE:
        return tuple(files.read_json(start_file(directory))["operations"])
    return config_fields.names(FIELD, options.operations.names, OPERATIONS, each="operation")


def _make(setting: Setting) -> Transform:
    return make_operations(_read(setting.options, setting.directory), setting.mean_std)


def _check(options: ConfigDict, size: int) -> None:
    names = options.operations.names
    if names != PROBE and not config_fields.names(FIELD, names, OPERATIONS, each="operation"):
        raise InputError(f"{FIELD}: got {names!r}; expected {PROBE!r} or operations, with the way operations")


def _files(options: ConfigDict, directory: Path) -> dict[str, Path]:
    return {FIELD: start_file(directory)} if options.operations.names == PROBE else {}


WAY = Way(FIELDS, _make, _check, _files)
