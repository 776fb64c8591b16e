"""DFM-X: training images seen through another class's dominant frequencies (Wang et al., ICCVW 2023; METHOD 9)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from fsjax.fourier import published_maps, spectrum
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# The branch of an image's key: augmentations fold 0, 1, ... into it and dropout 2**31.
_BRANCH = 2**31 + 1


def make_dfmx(
    masks: Bool[np.ndarray, "classes height width"], probability: float
) -> Callable[
    [Key[Array, " n"], Int[Array, " n"], Float[Array, "n height width 3"]],
    Float[Array, "n height width 3"],
]:
    """(keys, labels, images normalised) -> images; jit-able, the same for an image in any batch.

    With `probability` a class m is drawn from all classes; where it is not the image's label, the image keeps only the
    frequencies of m's mask, and DC. So the share filtered is probability x (C - 1) / C. All other images stay as they
    are, bit for bit. The published code also rolls the colour channels of filtered images; that is not reproduced.

    Args:
      masks: of each class, centred; one that keeps a frequency without its conjugate acts as Re F^-1(M F x).
      probability: in [0, 1].
    """
    if not probability:
        return lambda keys, labels, images: images
    classes, height, width = masks.shape
    masks = masks.copy()
    masks[:, height // 2, width // 2] = True
    # A bit each: they become a constant of the compiled step, and a thousand classes at 224 pixels would be 200 MB.
    packed = np.packbits(masks, axis=-1)

    def apply(keys, labels, images):
        drawn, other = jax.vmap(lambda key: _draw(key, classes, probability))(keys)
        kept = jnp.unpackbits(jnp.asarray(packed)[other], axis=-1, count=width)
        filtered = spectrum.filter_spectra(spectrum.spectra(images), kept[None])[0]
        return jnp.where((drawn & (other != labels))[:, None, None, None], filtered, images)

    return apply


def _draw(key: Key[Array, ""], classes: int, probability: float) -> tuple[Bool[Array, ""], Int[Array, ""]]:
    """Whether an image is to be filtered, and the class it is filtered for."""
    whether, which = jax.random.split(jax.random.fold_in(key, _BRANCH))
    return jax.random.bernoulli(whether, probability), jax.random.randint(which, (), 0, classes)


def read(
    options: ConfigDict, size: int, classes: tuple[str, ...] | None = None
) -> Bool[np.ndarray, "classes size size"] | None:
    """The masks that train.dfmx asks for, in the order of the classes; None where it asks for none.

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
    if maps.masks.shape[-2:] != (size, size):
        height, width = maps.masks.shape[-2:]
        raise InputError(f"train.dfmx.maps: {options.maps} is of {height} x {width} pixels; data.image_size is {size}")
    # Published files number their classes.
    if classes is not None and (maps.classes != classes if maps.named else len(maps.classes) != len(classes)):
        raise InputError(
            f"train.dfmx.maps: {options.maps} is of the {_short(maps.classes)}; the data has {_short(classes)}"
        )
    share = maps.nearest(options.share)
    if len(maps.shares) > 1 and abs(share - options.share) > 1e-9:
        there = ", ".join(f"{own:g}" for own in maps.shares)
        raise InputError(f"train.dfmx.share: {options.share:g} is not in {options.maps}; expected {there}")
    return np.array(maps.at(share))


def file_of(options: ConfigDict) -> Path | None:
    """The file that train.dfmx.maps names, if it does; raises InputError where there is none."""
    return published_maps.file_of(options.maps) if options.maps else None


def _short(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes {', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}"
