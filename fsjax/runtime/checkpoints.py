"""Checkpoints of a training run: Orbax files, each with the SHA-256 of its bytes.

Orbax restores flipped bits without a word, so hashes are compared before anything is read; a checkpoint that does not
match is passed over for the one before it. Their file is written last: without it there is no checkpoint.
"""

import errno
import logging
import math
import os
import pathlib
import re
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from fsjax.runtime import files, parallel, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

# Beside the hashes in their file: the loss that `save` was told. No file of a checkpoint has this name.
_LOSS = "loss"


class Checkpoints:
    """The newest checkpoints under a directory, and the one of the lowest loss.

    The main process writes, in a thread; all read. Where there are several processes, all call the same methods.

    Args:
      directory: made when the first checkpoint is saved.
      keep: how many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int = 2):
        # Orbax wants an absolute path.
        self.directory, self._keep = directory.absolute(), keep
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future | None = None
        self._copies: dict[int, tempfile.TemporaryDirectory] = {}

    def save(
        self, step: int, variables: PyTree, training: PyTree, about: dict[str, Any], loss: float | None = None
    ) -> None:
        """Begins to save a step, once the one before is there; `wait` returns when it is.

        Args:
          step: from 1.
          variables: the model's arrays, in host memory, of one replica.
          training: the optimiser's arrays and what else training goes on from.
          about: JSON values that say what they belong to.
          loss: on validation images, where it was measured at this step.

        Raises:
          InputError: the one before could not be written.
        """
        self.wait()
        if parallel.is_main_process():
            loss = loss if loss is not None and math.isfinite(loss) else None
            # A NumPy view of a device's memory may see what the next step writes there.
            variables, training = jax.tree.map(np.array, (variables, training))
            self._writing = self._thread.submit(self._write, step, variables, training, about, loss)

    def wait(self) -> None:
        """Returns when what was saved is there.

        Raises:
          InputError: it could not be written, as on a full disk.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def newest(self) -> int | None:
        """The newest step whose bytes are what was saved; None without one.

        Raises:
          InputError: there are checkpoints and none of them is whole.
        """
        self.wait()
        return parallel.decide(self._newest)

    def best(self) -> int | None:
        """The step of the lowest loss, the earliest of equal ones; None where no loss was measured.

        Raises:
          InputError: its bytes are not what was saved.
        """
        self.wait()
        return parallel.decide(self._best)

    def about(self, step: int) -> dict[str, Any]:
        """What `save` was told the step belongs to."""
        return files.read_json(self._files(step) / "about" / "metadata")

    def variables(self, step: int, like: PyTree) -> PyTree:
        """The model's arrays, in the structure of `like` (arrays or shapes)."""
        return self._restore(step, "variables", like)

    def training(self, step: int, like: PyTree) -> PyTree:
        """The optimiser's arrays and what else training goes on from."""
        return self._restore(step, "training", like)

    def discard_after(self, step: int | None) -> None:
        """Deletes the checkpoints newer than `step`, so that training can save those steps again."""
        self.wait()
        if parallel.is_main_process():
            for newer in _steps(self.directory):
                if step is None or newer > step:
                    self._delete(newer)

    def close(self) -> None:
        """Waits for what is being saved, as `wait` does, and ends the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            while self._copies:
                self._copies.popitem()[1].cleanup()

    def _write(self, step: int, variables: PyTree, training: PyTree, about: dict, loss: float | None) -> None:
        place = self.directory / str(step)
        with files.writing(place):
            self._delete(step)
            with files.replacing_folder(place) as folder:
                _ask_for_room(folder / "room", (variables, training))
                for item, arrays in (("variables", variables), ("training", training)):
                    _save(folder / item, arrays)
                files.write_json(folder / "about" / "metadata", about)
                hashes = _hashes(folder)
            files.write_json(self._hash_file(step), hashes | ({} if loss is None else {_LOSS: loss}))
        losses = _losses(self.directory)
        kept = {*sorted(losses)[-self._keep :], _lowest(losses)}
        for other in _steps(self.directory):
            if other not in kept:
                self._delete(other)

    def _newest(self) -> int | None:
        steps = _steps(self.directory)
        for step in reversed(steps):
            if self._is_whole(step):
                return step
            logger.warning("checkpoint %s is damaged or incomplete and is passed over", self.directory / str(step))
        if steps:
            raise InputError(
                f"{self.directory}: none of the checkpoints {steps[::-1]} is whole; delete the folder to train anew"
            )
        return None

    def _best(self) -> int | None:
        step = _lowest(_losses(self.directory))
        if step is not None and not self._is_whole(step):
            raise InputError(
                f"{self.directory / str(step)}: the best checkpoint is damaged; expected train.select='', the last "
                f"step, or delete {self.directory} and stages/train.json beside it to train anew"
            )
        return step

    def _is_whole(self, step: int) -> bool:
        recorded = _recorded(self._hash_file(step))
        try:
            return recorded is not None and _hashes(self._files(step)) == recorded[0]
        except FileNotFoundError:
            return False

    def _files(self, step: int) -> pathlib.Path:
        """The folder of a checkpoint: its own, or a copy of what a store has."""
        place = self.directory / str(step)
        if storage.is_local(place):
            return place
        if step not in self._copies:
            recorded = _recorded(self._hash_file(step))
            if recorded is None:
                raise FileNotFoundError(f"{self._hash_file(step)}: no hashes of files")
            copy, names = tempfile.TemporaryDirectory(), recorded[0]
            place.fs.get([f"{place.path}/{name}" for name in names], [f"{copy.name}/{name}" for name in names])
            self._copies[step] = copy
        return pathlib.Path(self._copies[step].name)

    def _restore(self, step: int, item: str, like: PyTree) -> PyTree:
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        with _orbax() as reader:
            return reader.restore(self._files(step) / item, args=ocp.args.StandardRestore(like))

    def _delete(self, step: int) -> None:
        """The hashes first: what is left, if this is killed, is no checkpoint."""
        self._hash_file(step).unlink(missing_ok=True)
        storage.remove(self.directory / str(step))
        if copy := self._copies.pop(step, None):
            copy.cleanup()

    def _hash_file(self, step: int) -> Path:
        return self.directory / f"{step}.sha256.json"


def chosen_hashes(directory: Path, select: str) -> Path:
    """The file with the hashes of the checkpoint under a directory that train.select chooses: '' = newest, or 'best'.

    It stands for the checkpoint's content.
    """
    losses = _losses(directory)
    step = _lowest(losses) if select == "best" else max(losses, default=None)
    return directory / ("none" if step is None else f"{step}.sha256.json")


def _ask_for_room(file: pathlib.Path, arrays: PyTree) -> None:
    """Raises OSError where a disk has no room for arrays, before Orbax and TensorStore say so at length."""
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(arrays))
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        with open(file, "wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of a file system that cannot be asked
            raise
    finally:
        file.unlink(missing_ok=True)


def _save(folder: pathlib.Path, arrays: PyTree) -> None:
    try:
        with _orbax() as writer:
            writer.save(folder, args=ocp.args.StandardSave(arrays))
    except ValueError as error:
        # As TensorStore has it, an operating system's error is one of a value.
        if code := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
        raise


def _orbax() -> ocp.Checkpointer:
    """One that knows of no other process."""
    process, _ = parallel.process()
    alone = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _steps(directory: Path) -> list[int]:
    """The checkpoints that are there, whole or not, in order."""
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def _losses(directory: Path) -> dict[int, float | None]:
    """The loss of each checkpoint that was committed."""
    found = {}
    for file in directory.glob("*.sha256.json"):
        step, recorded = file.name.split(".")[0], _recorded(file)
        if step.isdecimal() and recorded is not None:
            found[int(step)] = recorded[1]
    return found


def _lowest(losses: dict[int, float | None]) -> int | None:
    measured = [(loss, step) for step, loss in losses.items() if loss is not None]
    return min(measured)[1] if measured else None


def _recorded(file: Path) -> tuple[dict[str, str], float | None] | None:
    """The hashes and the loss in a file; None where it is missing, damaged, or names files of other folders."""
    try:
        hashes = files.read_json(file)
    except (FileNotFoundError, InputError):
        return None
    if not isinstance(hashes, dict):
        return None
    loss = hashes.pop(_LOSS, None)
    if not isinstance(loss, float | int | None) or not hashes or not all(map(_is_inside, hashes)):
        return None
    return hashes, loss


def _is_inside(name: str) -> bool:
    path = pathlib.PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _hashes(directory: pathlib.Path) -> dict[str, str]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): files.sha256(path) for path in paths}
