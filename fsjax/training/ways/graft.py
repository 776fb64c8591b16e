"""Grafting: the coefficients at a set of frequencies come from another image, so they tell nothing of the label.

With the donor drawn from all images of the batch, its class is as likely for one label as for any other, whatever the
classes' numbers. A network cannot learn a class from these frequencies, and learns it from the rest of the spectrum.
The set has to be the union over classes: an image of class y must also be seen with the frequencies of class j.
"""

import logging

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, Key
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.fourier import spectrum
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.checkpoints import chosen_hashes
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training.ways import map_file
from fsjax.training.ways.way import Images, Keys, Labels, Setting, Transform, Way

logger = logging.getLogger(__name__)

FIELD = "train.graft.maps"
# What train.graft.maps may be beside a file: the union that the stage probe leaves in the workdir.
PROBE = "probe"
# The branch of an image's key; DFM-X takes 2**31 + 1.
_BRANCH = 2**31 + 2

_ACCEPTED = (
    "'probe' = what the stage probe finds; a range or an .npy file as of data.frequencies; or a workdir or maps file, "
    "whose classes' maps are joined"
)

FIELDS: Table = {
    "maps": ("", f"the frequencies that are grafted: {_ACCEPTED}"),
    "share": (0.02, "share of the plane that the maps of a workdir or maps file keep"),
    "start": (
        "",
        "workdir of a run that the training goes on from, at its last step; '' = with maps 'probe' as the stage probe "
        "says, else none",
    ),
}


def make_graft(mask: Bool[np.ndarray, "height width"]) -> Transform:
    """Return (keys, labels, normalised images) -> images: to be called inside pmap over `parallel.AXIS`.

    Every image gets the coefficients at the mask's frequencies of an image that is drawn, by its key, from those that
    all devices have in this call; where that is itself, it stays as it is, bit for bit.

    Args:
      mask: centred; a frequency counts where its conjugate is in it.
    """
    mask = mask | spectrum.conjugate(mask)
    if not mask.any():
        return lambda keys, labels, images: images

    def apply(keys: Keys, labels: Labels, images: Images) -> Images:
        own = spectrum.coefficients(images, mask)
        everyone = jax.lax.all_gather(own, parallel.AXIS, tiled=True)

        def draw(key: Key[Array, ""]) -> Int[Array, ""]:
            return jax.random.randint(jax.random.fold_in(key, _BRANCH), (), 0, len(everyone))

        change = everyone[jax.vmap(draw)(keys)] - own
        return images + spectrum.from_coefficients(change, mask)

    return apply


def read_mask(options: ConfigDict, size: int, directory: Path | None) -> Bool[np.ndarray, "size size"]:
    """Return the frequencies that train.graft.maps names, centred; a file of probes that found none has none.

    Args:
      options: config.train.
      size: side of the images.
      directory: the workdir, for 'probe'.

    Raises:
      InputError: nothing named, no file, or one of another size, share or kind.
    """
    named = options.graft.maps
    if not named:
        raise InputError(f"{FIELD}: got ''; expected {_ACCEPTED}, with the way graft")
    if file := _file(options, directory) if named == PROBE else frequencies.file_of(named):
        return frequencies.from_file(file, size, FIELD)
    if not frequencies.are_named(named):
        return np.asarray(map_file.read_masks("graft", options.graft, size).any(0))
    mask = frequencies.read(named, size, FIELD)
    assert mask is not None, "only '' names none"
    return mask


def probed_file(directory: Path) -> Path:
    """Return the file of a workdir that holds the frequencies found by the stage probe."""
    return directory / "probes" / "frequencies.npy"


def start_file(directory: Path) -> Path:
    """Return the file of a workdir that names the probe whose network the training goes on from; null = none."""
    return directory / "probes" / "start.json"


def _start(options: ConfigDict, directory: Path) -> Path | None:
    """Return the workdir that train.graft.start names, or that of the last long probe; None where there is none."""
    if options.graft.start:
        return storage.path(options.graft.start)
    if options.graft.maps != PROBE or not start_file(directory).is_file():
        return None
    run = files.read_json(start_file(directory))["run"]
    return directory / "probes" / str(run) if run else None


def _file(options: ConfigDict, directory: Path | None) -> Path | None:
    """Return the file that train.graft.maps names, if it names one; raise InputError where it is missing."""
    named = options.graft.maps
    if named == PROBE:
        if directory is None or not (file := probed_file(directory)).is_file():
            raise InputError(f"{FIELD}: got {PROBE!r}, and the workdir has no probes; run the stage probe first")
        return file
    return frequencies.file_of(named) if frequencies.are_named(named) else map_file.file_of(options.graft)


def _make(setting: Setting) -> Transform:
    mask = read_mask(setting.options, setting.size, setting.directory)
    logger.info("train: grafts %.1f %% of the frequencies", 100 * mask.mean())
    return make_graft(mask)


def _check(options: ConfigDict, size: int) -> None:
    start = options.graft.start
    if start and not (storage.path(start) / "checkpoints").exists():
        raise InputError(f"train.graft.start: got {start!r}; expected the workdir of a finished training")
    if options.graft.maps != PROBE:
        read_mask(options, size, None)


def _files(options: ConfigDict, directory: Path) -> dict[str, Path]:
    file = _file(options, directory)
    found = {FIELD: file} if file else {}
    if run := _start(options, directory):
        if not options.graft.start:
            found["train.graft.start"] = start_file(directory)
        found["train.graft.weights"] = chosen_hashes(run / "checkpoints", "")
    return found


WAY = Way(FIELDS, _make, _check, _files, start=_start)
