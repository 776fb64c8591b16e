"""Partial results of a search on disk, keyed by class and range of masks, never by who computed them."""

import hashlib
import re

import jax
import numpy as np
from jaxtyping import Float, PyTree

from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Numbers of a layout that is so many times as large are no other machine's.
_FACTOR = 1000


class Partials:
    """Sums that are already computed.

    The layout, such as the tile size, is kept from the first start on: a restart repeats the same arithmetic, also on
    another number of devices or processes, so the final file equals that of a run that was never stopped.

    Args:
      directory: made on the first write; None = nothing is kept.
      layout: numbers that the arithmetic depends on, for a search that starts here.
      params: of the classifier that is searched.
      identity: names whatever else the sums rest on.

    Raises:
      InputError: the directory holds the sums of another search or another classifier.
    """

    def __init__(self, directory: Path | None, layout: dict[str, int], params: PyTree, identity: str = ""):
        self.directory = directory
        # One process reads and decides, so that all compute alike and all stop alike.
        self.layout = parallel.decide(lambda: self._decide(layout, params, identity))

    def _decide(self, layout: dict, params: PyTree, identity: str) -> dict:
        """The layout to compute with; raises InputError where the one that is there is wrong."""
        if self.directory is None:
            return layout
        files.remove_leftovers(self.directory)
        layout = {**layout, "model": _digest(params), "search": identity}
        file = self.directory / "layout.json"
        if not file.exists():
            files.write_json(file, layout)
            return layout
        kept = files.read_json(file)
        if not isinstance(kept, dict) or set(kept) != set(layout) or not _are_near(kept, layout):
            raise InputError(f"{file}: not the layout of a search; delete {self.directory} to search anew")
        for name, what in (("model", "model"), ("search", "search")):
            if kept[name] != layout[name]:
                raise InputError(
                    f"{self.directory}: partial results of another {what}; delete the folder to search anew"
                )
        return kept

    def known(self, label: int, masks: int, *each: int) -> Float[np.ndarray, "*each masks"]:
        """The sums of a class under so many masks; NaN where they are not there or their file is damaged.

        There is one a mask, or an array of the shape `each`.
        """
        sums = np.full((*each, masks), np.nan)
        if self.directory is None:
            return sums
        paths: list[Path] = sorted(self._folder(label).glob("*.npz"), key=str)
        for file in paths:
            if not (match := re.fullmatch(r"(\d+)-(\d+)\.npz", file.name)):
                continue
            start, stop = int(match[1]), int(match[2])
            try:
                part = files.read_npz(file)["sums"]
            except (FileNotFoundError, InputError, KeyError):
                continue
            if part.shape == (*each, stop - start) and stop <= masks and np.isfinite(part).all():
                sums[..., start:stop] = part
        return sums

    def write(self, label: int, start: int, sums: Float[np.ndarray, "*each masks"]) -> None:
        """Keeps the sums of masks start, start + 1, ..."""
        if self.directory is not None and (count := sums.shape[-1]):
            files.write_npz(self._folder(label) / f"{start:06d}-{start + count:06d}.npz", sums=sums)

    def _folder(self, label: int) -> Path:
        assert self.directory is not None, "where nothing is kept there are no files"
        return self.directory / f"class{label:05d}"


def _are_near(kept: dict, layout: dict) -> bool:
    """Whether the numbers that are kept may come from another machine, whose memory is larger or smaller."""
    numbers = {name: number for name, number in layout.items() if isinstance(number, int)}
    return all(
        type(kept[name]) is int and 0 <= kept[name] <= _FACTOR * max(1, number) for name, number in numbers.items()
    )


def _digest(params: PyTree) -> str:
    """SHA-256 of the arrays, in the order of the tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
