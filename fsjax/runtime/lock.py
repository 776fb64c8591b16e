"""Lock a workdir, so that two runs never write to it at once."""

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import socket
import time
import uuid
from collections.abc import Iterator

import numpy as np

from fsjax.runtime import files, parallel, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

LOOKS = 10  # for the main process's file, a second apart


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Create a workdir and lock it until the block or the main process ends. Collective.

    A store cannot lock: there the run only warns.

    Raises:
      InputError: another run holds the lock, the workdir cannot be written, or the processes see different folders.
    """
    file = directory / ".lock"
    with contextlib.ExitStack() as stack:
        run = parallel.decide(lambda: stack.enter_context(_locked(file) if storage.is_local(file) else _marked(file)))
        _check_all_see(file, run)
        yield


@contextlib.contextmanager
def _locked(file: pathlib.Path) -> Iterator[str]:
    """Lock a local file, and yield the id of this run, which the file then holds."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: on a full disk, closing the file would fail once more.
        opened = open(file, "a+b", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"--workdir: {file.parent} cannot be written ({error.strerror}); expected a folder") from error
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read(file)
            raise InputError(
                f"--workdir: {file.parent} is in use by a run with process {owner.get('pid', '?')} on "
                f"{owner.get('host', '?')}; expected one run at a time, or another --workdir"
            ) from None
        except OSError as error:
            logger.warning("%s: no lock (%s); take care that no other run writes there", file, error.strerror)
        this_run = _this_run()
        with files.writing(file):
            opened.truncate(0)
            opened.write(json.dumps(this_run).encode())
        yield this_run["run"]


@contextlib.contextmanager
def _marked(file: Path) -> Iterator[str]:
    """Write the id of this run to a store, which has no locks, and yield it."""
    logger.warning("%s: a store has no locks; take care that no other run writes there", file.parent)
    this_run = _this_run()
    files.write_json(file, this_run)
    yield this_run["run"]
    file.unlink(missing_ok=True)


def _check_all_see(file: Path, run: str) -> None:
    """Raise InputError in all processes if one of them does not see the main process's file."""
    index, processes = parallel.process()
    if processes == 1:
        return
    seen = np.zeros(processes)
    for look in range(LOOKS):
        time.sleep(min(look, 1))  # network file systems may lag
        if _read(file).get("run") == run:
            seen[index] = 1
            break
    unseeing = np.flatnonzero(parallel.total(seen) == 0)
    if len(unseeing):
        raise InputError(
            f"--workdir: process {unseeing[0]} does not see what process 0 wrote to {file.parent}; expected a folder "
            "that all processes share, or gs://..., s3://..."
        )


def _this_run() -> dict:
    return {"host": socket.gethostname(), "pid": os.getpid(), "run": uuid.uuid4().hex}


def _read(file: Path) -> dict:
    """Return the content of a lock's file; {} where it is missing or damaged."""
    try:
        owner = files.read_json(file)
    except (FileNotFoundError, InputError):
        return {}
    return owner if isinstance(owner, dict) else {}
