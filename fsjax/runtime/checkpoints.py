"""Checkpoints of a training run: `<step>.npz` has the arrays, `<step>.json` its SHA-256, the loss and the metadata.

Hashes are compared before anything is read; a checkpoint that does not match is skipped. The JSON file is written last:
without it a checkpoint does not count.
"""

import contextlib
import logging
import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from fsjax.runtime import files, parallel, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


class Checkpoints:
    """The `keep` newest checkpoints in a directory, and the checkpoint with the lowest loss.

    The main process writes, in a thread; all processes read. Collective: every process must call the same methods.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory, self._keep = directory, keep
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future | None = None

    def save(
        self, step: int, variables: PyTree, training: PyTree, metadata: dict[str, Any], loss: float | None = None
    ) -> None:
        """Start to save a step in a thread; first wait for the previous step, as `wait` does.

        `variables` are the model's arrays of one replica, `training` everything else that training resumes from, both
        in host memory; `metadata` is JSON. `loss` is the validation loss, if measured at this step.
        """
        self.wait()
        if parallel.is_main_process():
            record = {"loss": loss if loss is not None and math.isfinite(loss) else None, "metadata": metadata}
            # Copy: the next step may write to the device memory under a NumPy view.
            arrays = {name: np.array(leaf) for name, leaf in _named(variables=variables, training=training).items()}
            self._writing = self._thread.submit(self._write, step, arrays, record)

    def wait(self) -> None:
        """Wait until the last checkpoint is written; raise InputError where writing failed, as on a full disk."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def newest(self) -> int | None:
        """Return the newest step whose hashes match; None without checkpoints. Raise InputError if none match."""
        self.wait()

        def find() -> int | None:
            steps = self._steps()
            for step in reversed(steps):
                if self._matches(step):
                    return step
                logger.warning("checkpoint %s is damaged or incomplete; skipping it", self.directory / str(step))
            if steps:
                raise InputError(
                    f"{self.directory}: all checkpoints {steps[::-1]} are damaged; delete the folder to train again"
                )
            return None

        return parallel.decide(find)

    def best(self) -> int | None:
        """Return the first step with the lowest loss; None without losses. Raise InputError if it is damaged."""
        self.wait()

        def find() -> int | None:
            step = _lowest(_losses(self.directory))
            if step is not None and not self._matches(step):
                raise InputError(
                    f"{self.directory / str(step)}: the best checkpoint is damaged; expected train.select='', the last "
                    f"step, or delete {self.directory} and stages/train.json beside it to train again"
                )
            return step

        return parallel.decide(find)

    def metadata(self, step: int) -> dict[str, Any]:
        """Return the metadata given to `save`."""
        return files.read_json(self._record(step))["metadata"]

    def restore(self, item: str, step: int, like: PyTree) -> PyTree:
        """Restore what `save` got as "variables" or as "training", in the structure of `like` (arrays or shapes).

        Raises InputError where the checkpoint has other arrays.
        """
        file, expected = self._arrays(step), _named(**{item: like})
        arrays = files.read_npz(file, prefix=f"{item}/")
        found, wanted = ({name: (x.shape, x.dtype) for name, x in leaves.items()} for leaves in (arrays, expected))
        if found != wanted:
            raise InputError(f"{file}: got arrays of another {item}; expected the model and optimiser of the config")
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints newer than `step`, so that training can save those steps again."""
        self.wait()
        if parallel.is_main_process():
            for newer in self._steps():
                if newer > step:
                    self._delete(newer)

    def close(self) -> None:
        """Wait for the last checkpoint, as `wait` does, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _write(self, step: int, arrays: dict[str, np.ndarray], record: dict) -> None:
        self._delete(step)
        _save(self._arrays(step), arrays)
        files.write_json(self._record(step), {"sha256": files.sha256(self._arrays(step)), **record})
        losses = _losses(self.directory)
        preserved = {*sorted(losses)[-self._keep :], _lowest(losses)}
        for other in self._steps():
            if other not in preserved:
                self._delete(other)

    def _matches(self, step: int) -> bool:
        try:
            return _read(self._record(step)).get("sha256") == files.sha256(self._arrays(step))
        except FileNotFoundError:
            return False

    def _delete(self, step: int) -> None:
        """Delete a checkpoint, its record first, so that a kill leaves no checkpoint without its arrays."""
        storage.remove(self._record(step))
        storage.remove(self._arrays(step))

    def _steps(self) -> list[int]:
        paths = self.directory.iterdir() if self.directory.exists() else ()
        return sorted({int(path.stem) for path in paths if path.stem.isdecimal()})

    def _arrays(self, step: int) -> Path:
        return self.directory / f"{step}.npz"

    def _record(self, step: int) -> Path:
        return self.directory / f"{step}.json"


def chosen_record(directory: Path, select: str) -> Path:
    """Return the JSON file of the checkpoint that train.select chooses; it identifies the checkpoint's content."""
    losses = _losses(directory)
    step = _lowest(losses) if select == "best" else max(losses, default=None)
    return directory / ("none" if step is None else f"{step}.json")


def _named(**trees: PyTree) -> dict[str, Any]:
    """Return the leaves by name, such as variables/params/conv1/kernel."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _save(file: Path, arrays: dict[str, np.ndarray]) -> None:
    with files.replacing(file) as opened:
        np.savez(opened, **arrays)  # type: ignore[arg-type]  # no array has the name of an option


def _losses(directory: Path) -> dict[int, float | None]:
    """Return step -> loss of the checkpoints with a readable record."""
    records = {int(file.stem): _read(file) for file in directory.glob("*.json") if file.stem.isdecimal()}
    return {step: record["loss"] for step, record in records.items() if record}


def _lowest(losses: dict[int, float | None]) -> int | None:
    measured = [(loss, step) for step, loss in losses.items() if loss is not None]
    return min(measured)[1] if measured else None


def _read(file: Path) -> dict[str, Any]:
    """Return a checkpoint's record; {} where it is missing or damaged."""
    with contextlib.suppress(FileNotFoundError, InputError):
        record = files.read_json(file)
        if isinstance(record, dict) and {"sha256", "loss", "metadata"} <= record.keys():
            return record
    return {}
