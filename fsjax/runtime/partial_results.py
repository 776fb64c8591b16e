"""Partial results of a search on disk: what is computed is saved as it goes, and a restart computes only the rest."""

import hashlib
import re
import time
from collections.abc import Callable, Iterable

import jax
import numpy as np
from jaxtyping import Float, Int, PyTree

from fsjax.runtime import files, interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Of the files, and of the random draws that they rest on: another one's are refused.
FORMAT = 2
# Machines differ in memory, and so in the sizes that they choose, by less than this factor.
_FACTOR = 1000


class PartialResults:
    """The folder of partial results of one search.

    A restart keeps the layout, such as the tile size, of the first start. So it repeats the same arithmetic on any
    number of devices or processes, and the final file equals that of a run that was never stopped. Files are named
    after their content, never after the process that wrote them, and are written atomically: a kill loses what was
    computed since the last save, and a damaged file counts as missing.

    A search whose results stay as they are fills tables. One that replaces its state step by step, as
    search/stepwise.py, starts from `read(name)`; when `is_due()`, and at its end, it calls `write(name, state)` for
    each state and then `save()`.

    Args:
      directory: made on the first write; None = nothing is kept.
      layout: numbers that the arithmetic depends on, for a search that starts here; the attribute holds those in use.
      params: of the classifier that is searched.
      identity: names everything else that the results depend on.
      save_seconds: between two saves; `on_save` is called after each.

    Raises:
      InputError: the directory holds the results of another search, another classifier or another version.
    """

    def __init__(
        self,
        directory: Path | None,
        layout: dict[str, int],
        params: PyTree,
        identity: str = "",
        *,
        save_seconds: int | float = 30,
    ):
        self.directory = directory
        # One process reads and decides, so that all compute alike and all stop alike.
        self.layout: dict = parallel.decide(lambda: self._decide(layout, params, identity))
        self.on_save: Callable[[], object] = lambda: None
        self.unsaved: set[Table] = set()
        self._save_seconds, self._saved = save_seconds, time.monotonic()

    def table(self, label: int, values: Float[np.ndarray, "*shape items"], name: str = "") -> "Table":
        """Return a table over `values`, an array or a view: filled with what the folder holds, and NaN elsewhere.

        `label` is the class, or part of the images, that it belongs to; `name` tells a label's tables and files apart.
        """
        return Table(self, label, values, name)

    def folder(self, label: int) -> Path | None:
        """Return the folder of a class's files; None where nothing is kept."""
        return self.directory and self.directory / _folder_name(label)

    def read(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of a file; none where it is missing or damaged."""
        if self.directory is None:
            return {}
        try:
            return files.read_npz(self.directory / f"{name}.npz")
        except (FileNotFoundError, InputError):
            return {}

    def write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays to a file at once, in place of what was there; raise InputError where it cannot be written."""
        if self.directory is not None:
            files.write_npz(self.directory / f"{name}.npz", **arrays)

    def is_due(self) -> bool:
        """Whether the last save is `save_seconds` ago."""
        return time.monotonic() - self._saved >= self._save_seconds

    def save(self) -> None:
        """Write what the tables were filled with since the last save."""
        for table in self.unsaved:
            table.save()
        self.unsaved.clear()
        self._saved = time.monotonic()
        self.on_save()

    def _decide(self, layout: dict, params: PyTree, identity: str) -> dict:
        """Return the layout to compute with; raise InputError where the one on disk is another search's."""
        if self.directory is None:
            return layout
        files.remove_leftovers(self.directory)
        layout = {**layout, "format": FORMAT, "model": _digest(params), "search": identity}
        file = self.directory / "layout.json"
        if not file.exists():
            files.write_json(file, layout)
            return layout
        on_disk = files.read_json(file)
        if isinstance(on_disk, dict) and on_disk.get("format") != FORMAT:
            raise self._another("version of fsjax")
        if not isinstance(on_disk, dict) or set(on_disk) != set(layout) or not _are_near(on_disk, layout):
            raise InputError(f"{file}: not the layout of a search; delete {self.directory} to search anew")
        for name in ("model", "search"):
            if on_disk[name] != layout[name]:
                raise self._another(name)
        return on_disk

    def _another(self, thing: str) -> InputError:
        return InputError(f"{self.directory}: partial results of another {thing}; delete the folder to search anew")


class Table:
    """Values that are computed item by item, such as the losses of a class under each mask; NaN if not known."""

    def __init__(self, store: PartialResults, label: int, values: Float[np.ndarray, "*shape items"], name: str):
        self.values, self._store, self._label, self._name = values, store, label, name
        self._unsaved: list[Int[np.ndarray, " items"]] = []
        self.values[...] = np.nan
        folder = store.folder(label)
        for file in sorted(path.name for path in folder.glob(f"{name}*.npz")) if folder else ():
            if re.fullmatch(re.escape(name) + r"\d+-\d+\.npz", file):
                self._read(file.removesuffix(".npz"))

    def fill(
        self,
        tiles: Iterable[tuple[Int[np.ndarray, " items"], Float[np.ndarray, "*shape items"]]],
        on_tile: Callable[[int], object],
    ) -> None:
        """Compute items and their values, tile by tile; save as it goes and at the end, even after an error.

        `on_tile` is called with the number of items of each tile. Raises Terminated after SIGTERM.
        """
        try:
            for items, values in tiles:
                self.set(items, values)
                on_tile(len(items))
                if self._store.is_due():
                    self._store.save()
                interrupt.check()
        finally:
            self._store.save()

    def set(self, items: Int[np.ndarray, " items"], values: Float[np.ndarray, "*shape items"]) -> None:
        """Set the values of items; the next save writes them."""
        self.values[..., items] = values
        self._unsaved.append(items)
        self._store.unsaved.add(self)

    def save(self) -> None:
        """Write what was filled in since the last save; `PartialResults.save` calls this."""
        items = np.concatenate([np.zeros(0, int), *self._unsaved])
        self._unsaved = []
        if len(items):
            name = f"{self._name}{items[0]:06d}-{items[-1] + 1:06d}"
            arrays = {"items": items, "values": self.values[..., items]}
            self._store.write(f"{_folder_name(self._label)}/{name}", arrays)

    def _read(self, file: str) -> None:
        """Take over what a file holds; nothing where it is damaged or does not fit."""
        arrays = self._store.read(f"{_folder_name(self._label)}/{file}")
        items, values = arrays.get("items"), arrays.get("values")
        if items is None or values is None or items.ndim != 1 or items.dtype.kind != "i" or not len(items):
            return
        fits = values.shape == (*self.values.shape[:-1], len(items)) and values.dtype.kind == "f"
        if fits and items.min() >= 0 and items.max() < self.values.shape[-1] and np.isfinite(values).all():
            self.values[..., items] = values


def _folder_name(label: int) -> str:
    return f"class{label:05d}"


def _are_near(on_disk: dict, layout: dict) -> bool:
    """Whether the numbers on disk may come from another machine, whose memory is larger or smaller."""
    return all(
        type(on_disk[name]) is int and 0 <= on_disk[name] <= _FACTOR * max(1, number)
        for name, number in layout.items()
        if isinstance(number, int)
    )


def _digest(params: PyTree) -> str:
    """SHA-256 of the arrays, in the order of the tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
