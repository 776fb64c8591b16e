"""Checkpoints of a training run: Orbax files, and a JSON file with their SHA-256 hashes.

Orbax restores flipped bits without an error, so hashes are compared before anything is read; a checkpoint that does not
match is skipped. The file of hashes is written last: without it a checkpoint does not count.
"""

import errno
import logging
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


class Checkpoints:
    """The `keep` newest checkpoints in a directory.

    The main process writes, in a thread; all processes read. Collective: every process must call the same methods.
    """

    def __init__(self, directory: Path, keep: int = 2):
        # Orbax wants an absolute path.
        self.directory, self._keep = directory.absolute(), keep
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future | None = None
        self._copies: dict[int, tempfile.TemporaryDirectory] = {}

    def save(self, step: int, variables: PyTree, training: PyTree, metadata: dict[str, Any]) -> None:
        """Start to save a step in a thread; first wait for the previous step, as `wait` does.

        `variables` are the model's arrays of one replica, `training` everything else that training resumes from, both
        in host memory; `metadata` is JSON.
        """
        self.wait()
        if parallel.is_main_process():
            # Copy: the next step may write to the device memory under a NumPy view.
            variables, training = jax.tree.map(np.array, (variables, training))
            self._writing = self._thread.submit(self._write, step, variables, training, metadata)

    def wait(self) -> None:
        """Wait until the last checkpoint is written; raise InputError where writing failed, as on a full disk."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def newest(self) -> int | None:
        """Return the newest step whose hashes match; None without checkpoints. Raise InputError if none match."""
        self.wait()

        def find() -> int | None:
            steps = _steps(self.directory)
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

    def metadata(self, step: int) -> dict[str, Any]:
        """Return the metadata given to `save`."""
        return files.read_json(self._files(step) / "about" / "metadata")

    def restore(self, item: str, step: int, like: PyTree) -> PyTree:
        """Restore what `save` got as "variables" or as "training", in the structure of `like` (arrays or shapes)."""
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        with _orbax() as reader:
            return reader.restore(self._files(step) / item, args=ocp.args.StandardRestore(like))

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints newer than `step`, so that training can save those steps again."""
        self.wait()
        if parallel.is_main_process():
            for newer in _steps(self.directory):
                if newer > step:
                    self._delete(newer)

    def close(self) -> None:
        """Wait for the last checkpoint, as `wait` does, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            while self._copies:
                self._copies.popitem()[1].cleanup()

    def _write(self, step: int, variables: PyTree, training: PyTree, metadata: dict) -> None:
        place = self.directory / str(step)
        with files.writing(place):
            self._delete(step)
            with files.replacing_folder(place) as folder:
                _check_space(folder / "space", (variables, training))
                for item, arrays in (("variables", variables), ("training", training)):
                    _save(folder / item, arrays)
                files.write_json(folder / "about" / "metadata", metadata)
                hashes = _hashes(folder)
            files.write_json(self._hash_file(step), hashes)
        preserved = _finished(self.directory)[-self._keep :]
        for other in _steps(self.directory):
            if other not in preserved:
                self._delete(other)

    def _matches(self, step: int) -> bool:
        hashes = files.read_known(self._hash_file(step))
        try:
            return bool(hashes) and _hashes(self._files(step)) == hashes
        except FileNotFoundError:
            return False

    def _files(self, step: int) -> pathlib.Path:
        """Return the folder of a checkpoint, or of a local copy of one in a store."""
        place = self.directory / str(step)
        if storage.is_local(place):
            return place
        if step not in self._copies:
            names = list(files.read_known(self._hash_file(step)))
            copy = tempfile.TemporaryDirectory()
            place.fs.get([f"{place.path}/{name}" for name in names], [f"{copy.name}/{name}" for name in names])
            self._copies[step] = copy  # only now: a download that failed is no copy
        return pathlib.Path(self._copies[step].name)

    def _delete(self, step: int) -> None:
        """Delete a checkpoint, its hashes first, so that a kill leaves no checkpoint without some of its files."""
        self._hash_file(step).unlink(missing_ok=True)
        storage.remove(self.directory / str(step))
        if copy := self._copies.pop(step, None):
            copy.cleanup()

    def _hash_file(self, step: int) -> Path:
        return self.directory / f"{step}.sha256.json"


def newest_hashes(directory: Path) -> Path:
    """Return the file of hashes of the newest checkpoint, which identifies its content; "none" without checkpoints."""
    return directory / next((f"{step}.sha256.json" for step in reversed(_finished(directory))), "none")


def _check_space(file: pathlib.Path, arrays: PyTree) -> None:
    """Raise OSError where a disk has no space for arrays; Orbax and TensorStore would print many lines."""
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(arrays))
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        with open(file, "wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot allocate
            raise
    finally:
        file.unlink(missing_ok=True)


def _save(folder: pathlib.Path, arrays: PyTree) -> None:
    try:
        with _orbax() as writer:
            writer.save(folder, args=ocp.args.StandardSave(arrays))
    except ValueError as error:
        # TensorStore raises ValueError for an OSError.
        if code := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
        raise


def _orbax() -> ocp.Checkpointer:
    """Return a checkpointer that ignores the other processes."""
    process, _ = parallel.process()
    this_process = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=this_process)
    return ocp.Checkpointer(handler, multiprocessing_options=this_process)


def _steps(directory: Path) -> list[int]:
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def _finished(directory: Path) -> list[int]:
    """Return the steps whose file of hashes is whole, ascending."""
    steps = ((file.name.split(".")[0], file) for file in directory.glob("*.sha256.json"))
    return sorted(int(step) for step, file in steps if step.isdecimal() and files.read_known(file))


def _hashes(directory: pathlib.Path) -> dict[str, str]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): files.sha256(path) for path in paths}
