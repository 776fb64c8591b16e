"""Grafting: replace an image's coefficients at a set of frequencies by another image's.

The donor is drawn from all images of the batch, so its class is independent of the label. A network cannot learn a
class from these frequencies, and learns it from the rest of the spectrum. The set must be the union over classes: the
network must also see an image of class y with the frequencies of class j.
"""

import logging

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Int, Key
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.fourier import published_maps, spectrum
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.checkpoints import newest_hashes
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream
from fsjax.runtime.storage import Path
from fsjax.training.ways.way import Images, Keys, Labels, Setting, Transform, Way, read_masks

logger = logging.getLogger(__name__)

FIELD = "train.graft.maps"
# Frequencies of half the plane for which a step has room.
_LEAST = 256
# The value of train.graft.maps that means the union that the stage probe leaves in the workdir.
PROBE = "probe"
_ACCEPTED = (
    "'probe' = what the stage probe finds; a range or an .npy file as in data.frequencies; or a workdir or maps file, "
    "whose classes' maps are joined"
)

FIELDS: Table = {
    "maps": ("", f"the frequencies that are grafted: {_ACCEPTED}"),
    "share": (0.02, "share of the plane that the maps of a workdir or maps file keep", "[0, 1]"),
    "start": (
        "",
        "workdir of a run whose last step the training continues; '' = none, or with maps 'probe' the stage probe's",
    ),
}


def make_graft(mask: Bool[np.ndarray, "height width"]) -> Transform:
    """Return (keys, labels, normalised images) -> images: to be called inside pmap over `parallel.AXIS`.

    Each image's key draws a donor from the images of all devices in this call; the image gets the donor's coefficients
    at the mask's frequencies and their conjugates. An image that draws itself is unchanged, bit for bit. Where they lie
    is an argument of the compiled step, so that the rounds of probes share it.
    """

    def apply(
        positions: Int[Array, "2 kept"] | Int[np.ndarray, "2 kept"], keys: Keys, labels: Labels, images: Images
    ) -> Images:
        coefficients = spectrum.coefficients(images, positions)
        everyone = jax.lax.all_gather(coefficients, parallel.AXIS, tiled=True)

        def draw(key: Key[Array, ""]) -> Int[Array, ""]:
            return jax.random.randint(jax.random.fold_in(key, Stream.GRAFTED_IMAGES), (), 0, len(everyone))

        change = everyone[jax.vmap(draw)(keys)] - coefficients
        return images + spectrum.from_coefficients(change, positions, *images.shape[1:3])

    return Partial(apply, spectrum.half_positions(mask | spectrum.conjugate(mask), _LEAST))


def read_mask(options: ConfigDict, size: int, directory: Path | None) -> Bool[np.ndarray, "size size"]:
    """Return the frequencies that train.graft.maps names, centred; none where the probes found none.

    options: config.train. size: side of the images. directory: the workdir, for 'probe'. Raises InputError where
    nothing is named, and for no file, or a file of another size, share or kind.
    """
    file = _file(options, directory)
    if file is None:
        return np.asarray(frequencies.read(options.graft.maps, size, FIELD))
    if file.suffix == ".npy":
        return frequencies.from_file(file, size, FIELD)
    return np.asarray(read_masks("graft", options.graft, size).any(0))


def probed_file(directory: Path) -> Path:
    """Return the file of a workdir that holds the frequencies found by the stage probe."""
    return directory / "probes" / "frequencies.npy"


def start_file(directory: Path) -> Path:
    """Return the file of a workdir that names the probe which the final training continues, and the operations in use.

    Its fields are `run`, null = no probe, and `operations`, a list.
    """
    return directory / "probes" / "start.json"


def start(options: ConfigDict, directory: Path) -> Path | None:
    """Return the workdir that train.graft.start or the stage probe names; None where neither does."""
    if options.graft.start:
        return storage.path(options.graft.start)
    if options.graft.maps != PROBE or not start_file(directory).is_file():
        return None
    run = files.read_json(start_file(directory))["run"]
    return directory / "probes" / str(run) if run else None


def _file(options: ConfigDict, directory: Path | None) -> Path | None:
    """Return the file that train.graft.maps names, None for a range; raise InputError as `read_mask` does."""
    named = options.graft.maps
    if not named:
        raise InputError(f"{FIELD}: got ''; expected {_ACCEPTED}, with the way graft")
    if named == PROBE:
        if directory is None or not (file := probed_file(directory)).is_file():
            raise InputError(f"{FIELD}: got {PROBE!r}, and the workdir has no probes; run the stage probe first")
        return file
    return frequencies.file_of(named) if frequencies.are_named(named) else published_maps.maps_file(named)


def _make(setting: Setting) -> Transform:
    mask = read_mask(setting.options, setting.size, setting.directory)
    logger.info("train: grafts %.1f %% of the frequencies", 100 * mask.mean())
    return make_graft(mask)


def _check(options: ConfigDict, size: int) -> None:
    run = options.graft.start
    if run and not (storage.path(run) / "checkpoints").exists():
        raise InputError(f"train.graft.start: got {run!r}; expected the workdir of a finished training")
    if options.graft.maps != PROBE:
        read_mask(options, size, None)


def _files(options: ConfigDict, directory: Path) -> dict[str, Path]:
    file = _file(options, directory)
    read = {FIELD: file} if file else {}
    if run := start(options, directory):
        if not options.graft.start:
            read["train.graft.start"] = start_file(directory)
        read["train.graft.weights"] = newest_hashes(run / "checkpoints")
    return read


WAY = Way(FIELDS, _make, _check, _files)
