"""DFM-X: training images seen through another class's dominant frequencies (Wang et al., ICCVW 2023)."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key
from ml_collections import ConfigDict

from fsjax.fourier import published_maps, spectrum
from fsjax.fourier.masks import unpack
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream
from fsjax.runtime.storage import Path
from fsjax.training.ways.way import Images, Keys, Labels, Setting, Transform, Way, read_masks

logger = logging.getLogger(__name__)

FIELD = "train.dfmx.maps"
FIELDS: Table = {
    "maps": ("", "augment by other classes' dominant frequencies (DFM-X): '' = off, or a workdir or maps file"),
    "share": (0.05, "share of the plane that these maps keep", "[0, 1]"),
    "probability": (0.3, "probability that an image is augmented", "[0, 1]"),
}


def make_dfmx(masks: Bool[np.ndarray, "classes height width"], probability: float) -> Transform:
    """Return (keys, labels, normalised images) -> images; jit-able, the same for an image in any batch.

    With `probability` a class m is drawn from all classes; where it is not the image's label, the image keeps only DC
    and the frequencies of m's mask. So the share of filtered images is probability x (C - 1) / C; the others are
    unchanged, bit for bit. A mask that keeps a frequency without its conjugate acts as Re F^-1(M F x).
    """
    if not probability:
        return lambda keys, labels, images: images
    classes, height, width = masks.shape
    masks = masks.copy()
    masks[:, height // 2, width // 2] = True
    # Packed, since they are a constant of the compiled step: 1,000 classes at 224 pixels would take 200 MB as bools.
    packed = np.packbits(masks, axis=-1)

    def draw(key: Key[Array, ""]) -> tuple[Bool[Array, ""], Int[Array, ""]]:
        """Return whether an image is filtered, and the class whose mask it keeps."""
        whether, which = jax.random.split(jax.random.fold_in(key, Stream.DFMX))
        return jax.random.bernoulli(whether, probability), jax.random.randint(which, (), 0, classes)

    def apply(keys: Keys, labels: Labels, images: Images) -> Images:
        drawn, other = jax.vmap(draw)(keys)
        keep = unpack(jnp.asarray(packed)[other], width)
        filtered = spectrum.filter_spectra(spectrum.spectra(images), keep[None])[0]
        return jnp.where((drawn & (other != labels))[:, None, None, None], filtered, images)

    return apply


def _make(setting: Setting) -> Transform:
    options = setting.options.dfmx
    masks = read_masks("dfmx", options, setting.size, setting.classes)
    kept = 100 * masks.mean((1, 2))
    spread = "" if kept.min() == kept.max() else f" ({kept.min():.1f} to {kept.max():.1f} %)"
    logger.info("train: DFM-X keeps %.1f %% of the frequencies, on average over classes%s", kept.mean(), spread)
    return make_dfmx(masks, options.probability)


def _check(options: ConfigDict, size: int) -> None:
    if not options.dfmx.maps:
        raise InputError(f"{FIELD}: got ''; expected a workdir or maps file, with the way dfmx")
    read_masks("dfmx", options.dfmx, size)


def _files(options: ConfigDict, directory: Path) -> dict[str, Path]:
    return {FIELD: published_maps.maps_file(options.dfmx.maps)}


WAY = Way(FIELDS, _make, _check, _files)
