"""Store partial results on disk as they are computed, so that a restart computes only the rest."""

import hashlib
import re
import time
from collections.abc import Callable, Iterable

import jax
import numpy as np
from jaxtyping import Float, Int, PyTree, Shaped

from fsjax.runtime import files, interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Version of the files and of the random streams behind them; results of another version are refused.
FORMAT = 3


class PartialResults:
    """A folder of partial results: tables, which fill up, and states, which are replaced.

    A restart uses the layout of the first start, such as its tile size, so its final file equals the file of an
    uninterrupted run. A kill loses only the results since the last save. A damaged file counts as missing. Raises
    InputError where the folder holds results of another search, model or version of fsjax.

    Args:
      directory: the folder, made on the first write; None stores nothing.
      layout: numbers that the arithmetic depends on, for a new folder; the attribute holds the layout to use.
      params, identity: the model's parameters, and a text about everything else that the results depend on.
      save_seconds: time between two saves; `on_save` is called after each.
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
        # The main process reads and decides, so that all processes compute alike and stop alike.
        self.layout: dict = parallel.decide(lambda: self._decide(layout, params, identity))
        self.on_save: Callable[[], object] = lambda: None
        self._tables: set[Table] = set()
        self._states: dict[str, dict[str, np.ndarray]] = {}
        self._save_seconds, self._saved = save_seconds, time.monotonic()

    def table(self, item: str, values: Float[np.ndarray, "*shape rows"]) -> "Table":
        """Read the stored rows of an item, such as "class00003", into `values`; the other rows become NaN."""
        return Table(self, item, values)

    def state(self, item: str) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Return the saved arrays of an item; {} where they are missing or damaged."""
        if self.directory is None:
            return {}
        try:
            return files.read_npz(self.directory / f"{item}.npz")
        except (FileNotFoundError, InputError):
            return {}

    def set_state(self, item: str, arrays: dict[str, Shaped[np.ndarray, "..."]]) -> None:
        """Replace the arrays of an item; the next save writes them."""
        self._states[item] = arrays

    def is_due(self) -> bool:
        """Return whether the last save was `save_seconds` ago."""
        return time.monotonic() - self._saved >= self._save_seconds

    def save(self) -> None:
        """Write the rows and states that were set since the last save; raise InputError where the disk is full."""
        for table in self._tables:
            table.save()
        for item, arrays in self._states.items():
            self._write(item, arrays)
        self._tables.clear()
        self._states.clear()
        self._saved = time.monotonic()
        self.on_save()

    def _write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        if self.directory is not None:
            files.write_npz(self.directory / f"{name}.npz", **arrays)

    def _decide(self, layout: dict, params: PyTree, identity: str) -> dict:
        """Return the layout to compute with; raise InputError where the folder belongs to another search."""
        if self.directory is None:
            return layout
        layout = {**layout, "format": FORMAT, "model": digest(params), "search": identity}
        file = self.directory / "layout.json"
        if not file.exists():
            files.write_json(file, layout)
            return layout
        on_disk = files.read_json(file)
        if not isinstance(on_disk, dict):
            raise InputError(f"{file}: not the layout of a search; delete {self.directory} to search again")
        for name, thing in (("format", "version of fsjax"), ("model", "model"), ("search", "search")):
            if on_disk.get(name) != layout[name]:
                raise InputError(
                    f"{self.directory}: partial results of another {thing}; delete the folder to search again"
                )
        return on_disk


class Table:
    """Values that are computed row by row, such as a class's losses under each mask; rows are the last axis."""

    def __init__(self, store: PartialResults, item: str, values: Float[np.ndarray, "*shape rows"]):
        self.values, self._store, self._item = values, store, item
        self._unsaved: list[Int[np.ndarray, " rows"]] = []
        self.values[...] = np.nan
        folder = store.directory and store.directory / item
        for file in sorted(path.stem for path in folder.glob("*.npz")) if folder else ():
            if re.fullmatch(r"\d+-\d+", file) and (arrays := store.state(f"{item}/{file}")):
                self.values[..., arrays["items"]] = arrays["values"]

    def claim(self) -> tuple[Int[np.ndarray, " missing"], Int[np.ndarray, " mine"]]:
        """Return the rows that no process has stored, and the part of them that this process computes. Collective."""
        # Each process reads all files before another writes.
        self.values[...] = parallel.merge(self.values)
        missing = np.flatnonzero(np.isnan(self.values).any(tuple(range(self.values.ndim - 1))))
        return missing, missing[parallel.share(len(missing))]

    def fill(
        self,
        tiles: Iterable[tuple[Int[np.ndarray, " rows"], Float[np.ndarray, "*shape rows"]]],
        on_tile: Callable[[int], object],
    ) -> None:
        """Set rows tile by tile; call `on_tile` with their number; save when due, and at the end even after an error.

        Raises interrupt.Terminated after SIGTERM.
        """
        try:
            for rows, values in tiles:
                self.set(rows, values)
                on_tile(len(rows))
                if self._store.is_due():
                    self._store.save()
                interrupt.check()
        finally:
            self._store.save()

    def set(self, rows: Int[np.ndarray, " rows"], values: Float[np.ndarray, "*shape rows"]) -> None:
        """Set the values of rows; the next save writes them."""
        self.values[..., rows] = values
        self._unsaved.append(rows)
        self._store._tables.add(self)

    def save(self) -> None:
        """Write the rows that were set since the last save; `PartialResults.save` calls this."""
        rows = np.concatenate([np.zeros(0, int), *self._unsaved])
        self._unsaved = []
        if len(rows):
            arrays = {"items": rows, "values": self.values[..., rows]}
            self._store._write(f"{self._item}/{rows[0]:06d}-{rows[-1] + 1:06d}", arrays)


def class_item(label: int) -> str:
    """Return the item of a class."""
    return f"class{label:05d}"


def digest(arrays: PyTree) -> str:
    """Return the SHA-256 of the arrays, in the order of the tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(arrays)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
