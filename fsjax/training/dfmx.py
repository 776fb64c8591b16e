"""DFM-X: training images seen through another class's dominant frequencies (Wang et al., ICCVW 2023)."""

import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from fsjax.fourier import published_maps, spectrum
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

FIELD = "train.dfmx.maps"
# The branch of an image's key: augmentations fold 0, 1, ... into it and dropout 2**31.
_BRANCH = 2**31 + 1

Images = Float[Array, "n height width 3"]
# (keys, labels, normalised images) -> images
Filter = Callable[[Key[Array, " n"], Int[Array, " n"], Images], Images]


def from_config(options: ConfigDict, size: int, classes: tuple[str, ...]) -> Filter | None:
    """Return the augmentation that config.train.dfmx asks for, if any; arguments and errors as of `read_masks`."""
    masks = read_masks(options, size, classes)
    if masks is None:
        return None
    kept = 100 * masks.mean((1, 2))
    spread = "" if kept.min() == kept.max() else f" ({kept.min():.1f} to {kept.max():.1f} %)"
    logger.info("train: DFM-X keeps %.1f %% of the frequencies, on average over classes%s", kept.mean(), spread)
    return make_dfmx(masks, options.probability, options.channel_roll)


def make_dfmx(
    masks: Bool[np.ndarray, "classes height width"], probability: float, channel_roll: bool = False
) -> Filter:
    """Return (keys, labels, normalised images) -> images; jit-able, the same for an image in any batch.

    With `probability` a class m is drawn from all classes; where it is not the image's label, the image keeps only DC
    and the frequencies of m's mask. So the share of filtered images is probability x (C - 1) / C; all others stay as
    they are, bit for bit.

    Args:
      masks: of each class, centred; one that keeps a frequency without its conjugate acts as Re F^-1(M F x).
      probability: in [0, 1].
      channel_roll: whether filtered images get their channels in the order GBR. The published code does that by
        accident: it undoes the shift to the centred plane over all three axes of an image, the channels' among them.
    """
    if not probability:
        return lambda keys, labels, images: images
    classes, height, width = masks.shape
    masks = masks.copy()
    masks[:, height // 2, width // 2] = True
    # A bit each: they become a constant of the compiled step, and a thousand classes at 224 pixels would be 200 MB.
    packed = np.packbits(masks, axis=-1)

    def draw(key: Key[Array, ""]) -> tuple[Bool[Array, ""], Int[Array, ""]]:
        """Return whether an image is to be filtered, and the class whose mask it keeps."""
        whether, which = jax.random.split(jax.random.fold_in(key, _BRANCH))
        return jax.random.bernoulli(whether, probability), jax.random.randint(which, (), 0, classes)

    def apply(keys: Key[Array, " n"], labels: Int[Array, " n"], images: Images) -> Images:
        drawn, other = jax.vmap(draw)(keys)
        keep = jnp.unpackbits(jnp.asarray(packed)[other], axis=-1, count=width)
        filtered = spectrum.filter_spectra(spectrum.spectra(images), keep[None])[0]
        if channel_roll:
            filtered = jnp.roll(filtered, -1, axis=-1)
        return jnp.where((drawn & (other != labels))[:, None, None, None], filtered, images)

    return apply


def read_masks(
    options: ConfigDict, size: int, classes: tuple[str, ...] | None = None
) -> Bool[np.ndarray, "classes size size"] | None:
    """Return the masks that train.dfmx asks for, in the order of the classes; None where it asks for none.

    A file of several shares must have train.dfmx.share among them; one of a single share is taken as it is; a pickle
    of scores is cut at train.dfmx.share by the published threshold.

    Args:
      options: config.train.dfmx.
      size: side of the images.
      classes: display names of the data's classes; None = not compared.

    Raises:
      InputError: a probability or a share that cannot be used, or maps that are missing, of another size or share, or
        of other classes.
    """
    if not 0 <= options.probability <= 1:
        raise InputError(f"train.dfmx.probability: got {options.probability:g}; expected 0 to 1")
    if not options.maps:
        return None
    if not 0 < options.share <= 1:
        raise InputError(f"train.dfmx.share: got {options.share:g}; expected above 0, up to 1")
    maps = published_maps.read_maps(options.maps, classes=None, shares=(options.share,))
    height, width = maps.masks.shape[-2:]
    if (height, width) != (size, size):
        raise InputError(f"{FIELD}: {options.maps} has {height} x {width} pixels; expected data.image_size, {size}")
    # Published files number their classes.
    if classes is not None and (maps.classes != classes if maps.named else len(maps.classes) != len(classes)):
        raise InputError(
            f"{FIELD}: {options.maps} has the {_short(maps.classes)}; expected the data's {_short(classes)}"
        )
    share = maps.nearest(options.share)
    if len(maps.shares) > 1 and abs(share - options.share) > 1e-9:
        available = ", ".join(f"{share:g}" for share in maps.shares)
        raise InputError(f"train.dfmx.share: got {options.share:g}; expected a share of {options.maps}: {available}")
    return np.array(maps.at(share))


def maps_file(options: ConfigDict) -> Path | None:
    """Return the file that train.dfmx.maps names, if it names one; raise InputError where it is missing."""
    return published_maps.file_of(options.maps) if options.maps else None


def _short(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes {', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}"
