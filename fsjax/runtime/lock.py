"""Lock a workdir, so that two runs never write to it at once."""

import contextlib
import fcntl
import json
import logging
import os
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

    A store cannot lock: there the run only warns. Raise InputError where another run holds the lock, the workdir cannot
    be written, or the processes see different folders.
    """
    file, run = directory / ".lock", {"host": socket.gethostname(), "pid": os.getpid(), "run": uuid.uuid4().hex}
    with contextlib.ExitStack() as stack:
        _check_all_see(file, parallel.decide(lambda: stack.enter_context(_locked(file, run))))
        yield


@contextlib.contextmanager
def _locked(file: Path, run: dict) -> Iterator[str]:
    """Lock a file, write the run into it, and yield the run's id."""
    if not storage.is_local(file):
        logger.warning("%s: a store has no locks; make sure that a single run writes there", file.parent)
        files.write_json(file, run)
        yield run["run"]
        file.unlink(missing_ok=True)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = open(file, "a+b", buffering=0)  # noqa: SIM115 - unbuffered, so that close() works on a full disk
    except OSError as error:
        raise InputError(f"--workdir: {file.parent} cannot be written ({error.strerror}); expected a folder") from error
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = {"pid": "?", "host": "?"} | files.read_known(file)
            user = f"a run with process {owner['pid']} on {owner['host']}"
            expected = "one run at a time, or another --workdir"
            raise InputError(f"--workdir: {file.parent} is in use by {user}; expected {expected}") from None
        except OSError as error:
            logger.warning("%s: no lock (%s); make sure that a single run writes there", file, error.strerror)
        with files.writing(file):
            opened.truncate(0)
            opened.write(json.dumps(run).encode())
        yield run["run"]


def _check_all_see(file: Path, run: str) -> None:
    """Raise InputError in all processes if a process does not see the main process's file."""
    index, processes = parallel.process()
    seen = np.zeros(processes)
    for look in range(LOOKS if processes > 1 else 0):
        time.sleep(min(look, 1))  # network file systems may lag
        if files.read_known(file).get("run") == run:
            seen[index] = 1
            break
    unseeing = np.flatnonzero(parallel.total(seen) == 0)
    if processes > 1 and len(unseeing):
        got = f"process {unseeing[0]} does not see what process 0 wrote to {file.parent}"
        raise InputError(f"--workdir: {got}; expected a folder that all processes share, or gs://..., s3://...")
