"""Checkpoints of a training run: Orbax files, each with the SHA-256 of its bytes.

Orbax restores flipped bits without a word, so hashes are written after it has committed and compared before anything
is read; a checkpoint that does not match is passed over for the one before it.
"""

import logging
from typing import Any

import orbax.checkpoint as ocp
from jaxtyping import PyTree

from fsjax import workdir
from fsjax.errors import InputError
from fsjax.storage import Path

logger = logging.getLogger(__name__)


class Checkpoints:
    """The newest checkpoints under a directory.

    Args:
      directory: made when the first checkpoint is saved.
      keep: how many of the newest stay on disk.
    """

    def __init__(self, directory: Path, keep: int = 2):
        # Orbax and the restore side both want an absolute path.
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, variables: PyTree, training: PyTree, about: dict[str, Any]) -> None:
        """Saves a step: host NumPy arrays of one replica, and JSON values that say what they belong to."""
        items = ocp.args.Composite(
            variables=ocp.args.StandardSave(variables),
            training=ocp.args.StandardSave(training),
            about=ocp.args.JsonSave(about),
        )
        self._manager.save(step, args=items, force=True)
        workdir.write_json(self._hash_file(step), _hashes(self.directory / str(step)))
        for path in self.directory.glob("*.sha256.json"):
            if not (self.directory / path.name.split(".")[0]).exists():
                path.unlink()

    def newest(self) -> int | None:
        """The newest step whose bytes are what was saved; None without one.

        Raises:
          InputError: there are checkpoints and none of them is whole.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            hash_file = self._hash_file(step)
            if hash_file.exists() and workdir.read_json(hash_file) == _hashes(self.directory / str(step)):
                return step
            logger.warning("checkpoint %s is damaged or incomplete and is passed over", self.directory / str(step))
        if steps:
            raise InputError(
                f"{self.directory}: none of the checkpoints {steps} is whole; delete the folder to train anew"
            )
        return None

    def about(self, step: int) -> dict[str, Any]:
        """What `save` was told the step belongs to."""
        return self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore())).about

    def variables(self, step: int, like: PyTree) -> PyTree:
        """The model's arrays, in the structure of `like` (arrays or shapes)."""
        return self._restore(step, "variables", like)

    def training(self, step: int, like: PyTree) -> PyTree:
        """The optimiser's arrays and what else training goes on from."""
        return self._restore(step, "training", like)

    def discard_after(self, step: int | None) -> None:
        """Deletes the checkpoints newer than `step`, so that training can save those steps again."""
        for newer in self._manager.all_steps():
            if step is None or newer > step:
                self._manager.delete(newer)

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._manager.close()

    def _restore(self, step: int, item: str, like: PyTree) -> PyTree:
        args = ocp.args.Composite(**{item: ocp.args.StandardRestore(like)})
        return getattr(self._manager.restore(step, args=args), item)

    def _hash_file(self, step: int) -> Path:
        return self.directory / f"{step}.sha256.json"


def newest_hashes(directory: Path) -> Path:
    """The file with the hashes of the newest checkpoint under a directory: it stands for the checkpoint's content."""
    files = directory.glob("*.sha256.json")
    return max(files, key=lambda file: int(file.name.split(".")[0]), default=directory / "none")


def _hashes(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): workdir.sha256(path) for path in files}
