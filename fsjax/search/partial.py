"""Partial results of a search on disk, keyed by class and range of masks, never by who computed them."""

import hashlib
import pathlib

import jax
import numpy as np
from jaxtyping import Float, PyTree

from fsjax import workdir
from fsjax.errors import InputError


class Partials:
    """Losses that are already computed.

    The layout, such as the tile size, is kept from the first start on: a restart repeats the same arithmetic, so the
    final file equals that of a run that was never stopped.

    Args:
      directory: made on the first write.
      layout: JSON numbers that the arithmetic depends on, for a search that starts here.
      params: of the classifier that is searched.

    Raises:
      InputError: the directory holds losses of another classifier.
    """

    def __init__(self, directory: pathlib.Path, layout: dict[str, int], params: PyTree):
        self.directory = directory
        file = directory / "layout.json"
        layout = {**layout, "model": _digest(params)}
        if file.exists():
            self.layout = workdir.read_json(file)
            if not isinstance(self.layout, dict) or set(self.layout) != set(layout):
                raise InputError(f"{file}: not the layout of a search; delete {directory} to search anew")
            if self.layout["model"] != layout["model"]:
                raise InputError(f"{directory}: partial results of another model; delete the folder to search anew")
        else:
            self.layout = layout
            workdir.write_json(file, layout)

    def read(self, label: int, start: int, stop: int) -> Float[np.ndarray, " masks"] | None:
        """Losses of masks start..stop-1 on the images of a class, or None where they are not there or damaged."""
        try:
            losses = workdir.read_npz(self._file(label, start, stop))["losses"]
        except (FileNotFoundError, InputError, KeyError):
            return None
        return losses if losses.shape == (stop - start,) and np.isfinite(losses).all() else None

    def write(self, label: int, start: int, stop: int, losses: Float[np.ndarray, " masks"]) -> None:
        """Keeps losses."""
        workdir.write_npz(self._file(label, start, stop), losses=losses)

    def _file(self, label: int, start: int, stop: int) -> pathlib.Path:
        return self.directory / f"class{label:05d}" / f"{start:06d}-{stop:06d}.npz"


def _digest(params: PyTree) -> str:
    """SHA-256 of the arrays, in the order of the tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
