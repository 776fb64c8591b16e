"""One run at a time in a workdir, which all its processes share.

On a disk the kernel holds the lock as long as the process lives. A store has no locks: there the run rewrites an
object, its lease, every few seconds. A lease that does not change for some time is abandoned; no clocks are compared.
"""

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator

import numpy as np

from fsjax.runtime import files, interrupt, parallel, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0  # between two writes of a lease
BEATS = 4  # without a change, after which a lease is abandoned; longer than SETTLE_SECONDS and a write
SETTLE_SECONDS = 2.0  # during which runs that start together may overwrite each other's lease
LOOKS = 10  # for what the main process wrote, a second apart


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Create a workdir and lock it until the block or the main process ends. Collective.

    Raises:
      InputError: another run holds it, it cannot be written, or the processes do not see the same folder.
    """
    file = directory / ".lock"
    with contextlib.ExitStack() as stack:
        run = parallel.decide(
            lambda: stack.enter_context(_locked(file) if storage.is_local(file) else _leased(file)),
        )
        _check_all_see(file, run)
        yield


@contextlib.contextmanager
def _locked(file: pathlib.Path) -> Iterator[str]:
    """Lock a file on a disk, and yield the id of this run in it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: on a full disk, closing the file would fail once more.
        opened = open(file, "a+b", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"--workdir: {file.parent} cannot be written ({error.strerror}); expected a folder, made if need be"
        ) from error
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(file, _read(file)) from None
        except OSError as error:
            logger.warning("%s: no lock (%s); take care that no other run writes there", file, error.strerror)
        this_run = _owner()
        with files.writing(file):
            opened.truncate(0)
            opened.write(json.dumps(this_run).encode())
        yield this_run["run"]


@contextlib.contextmanager
def _leased(file: Path) -> Iterator[str]:
    """Hold a lease in a store, and yield the id of this run in it."""
    if before := _read(file):
        logger.info("%s: %s was here; waiting to see whether it still runs", file.parent, _describe(before))
        for _ in range(BEATS):
            _pause(BEAT_SECONDS)
            if (now := _read(file)) != before and now:
                raise _taken(file, now)
    this_run = _owner()
    files.write_json(file, this_run)
    _pause(SETTLE_SECONDS)
    if (now := _read(file)) != this_run:
        raise _taken(file, now)
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(BEAT_SECONDS):
            try:
                if (now := _read(file)).get("run") != this_run["run"]:
                    logger.error("%s: %s took it over, as if this run had ended; stopping", file.parent, _describe(now))
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                count += 1
                files.write_json(file, this_run | {"beat": count})
            except Exception as error:  # of the network; the next beat tries again
                logger.warning("%s: not written (%s)", file, error)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield this_run["run"]
    finally:
        stop.set()
        thread.join()
        if _read(file).get("run") == this_run["run"]:
            file.unlink(missing_ok=True)


def _check_all_see(file: Path, run: str) -> None:
    """Raise InputError in all processes if one of them does not see what the main process wrote."""
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


def _owner() -> dict:
    return {"host": socket.gethostname(), "pid": os.getpid(), "run": uuid.uuid4().hex}


def _read(file: Path) -> dict:
    """Read the owner of a lock; {} for a file that is missing or damaged."""
    try:
        owner = files.read_json(file)
    except (FileNotFoundError, InputError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe(owner: dict) -> str:
    return f"a run with process {owner.get('pid', '?')} on {owner.get('host', '?')}"


def _taken(file: Path, owner: dict) -> InputError:
    return InputError(
        f"--workdir: {file.parent} is in use by {_describe(owner)}; expected one run at a time, or another --workdir"
    )


def _pause(seconds: float) -> None:
    time.sleep(seconds)
    interrupt.check()
