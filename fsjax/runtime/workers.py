"""Processes that share the work on a batch of images, in memory that all of them see.

They are loky's: unlike those of concurrent.futures they do not run the caller's script, which may have no guard.
"""

import concurrent.futures
import contextlib
import functools
import mmap
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from fsjax.runtime import cores
from fsjax.runtime.errors import InputError

MOST = 32
_IDLE_SECONDS = 60  # after which processes without work end
_LOCK = threading.Lock()
_SPARE: list["_Memory"] = []  # that no array uses
_MOST_SPARE = 4


def most_processes() -> int:
    """Return how many processes can share a batch: one for each core, at most MOST; one where there is no Linux."""
    return min(MOST, cores.count()) if hasattr(os, "memfd_create") else 1


def call(processes: int, name: str, function: Callable, calls: Sequence[tuple]) -> list:
    """Call a function in processes, one of them for each of `calls`, its arguments; return what it returns.

    Args:
      processes: that are kept for the function, and started by its first call.
      name: of what they do, for the message.
      function: of a module, which they import.
      calls: arguments of each call.

    Raises:
      InputError: a process was ended from outside; and what the function raises.
    """
    import loky  # here: most runs need it never, and it takes a tenth of a second

    try:
        with _LOCK:  # two threads would start them twice
            futures = [_submit(processes, function, arguments) for arguments in calls]
        concurrent.futures.wait(futures)  # none works on after another's error
        return [future.result() for future in futures]
    except loky.process_executor.TerminatedWorkerError as error:
        _executor.cache_clear()
        raise InputError(f"{name} was ended, maybe for want of memory") from error


class Shared(NamedTuple):
    """What other processes open shared memory by."""

    path: str
    inode: int


@contextlib.contextmanager
def shared_images(shape: tuple[int, ...]) -> Iterator[tuple[UInt8[np.ndarray, "..."], Shared]]:
    """Yield an array for one `call`, with anything in it, and what other processes open its memory by.

    What large images take of a pipe, or of memory whose pages are new, is a fifth of their decoding. The memory has no
    name that could outlive a kill. After the context the array stays; when it goes, its memory serves again.
    """
    memory = _memory(int(np.prod(shape)))
    array = np.frombuffer(memory.mapped, np.uint8)
    try:
        yield array.reshape(shape), Shared(f"/proc/{os.getpid()}/fd/{memory.file}", os.fstat(memory.file).st_ino)
    except BaseException:
        os.close(memory.file)  # a process may still write
        raise
    weakref.finalize(array, _spare, memory).atexit = False


class _Memory:
    """A file in memory, mapped."""

    def __init__(self, size: int):
        self.file = os.memfd_create("fsjax")
        os.ftruncate(self.file, size)
        self.mapped = mmap.mmap(self.file, size)


def _memory(size: int) -> _Memory:
    # Without a lock, for `_spare` may be called wherever garbage is collected: what another thread took is not there.
    for memory in [spare for spare in _SPARE if len(spare.mapped) == size]:
        with contextlib.suppress(ValueError):
            _SPARE.remove(memory)
            return memory
    return _Memory(size)


def _spare(memory: _Memory) -> None:
    _SPARE.append(memory)
    if len(_SPARE) > _MOST_SPARE:
        with contextlib.suppress(IndexError):
            os.close(_SPARE.pop(0).file)


@contextlib.contextmanager
def opened(shared: Shared) -> Iterator[int]:
    """Yield the descriptor of a file in memory that another process shares.

    Raises:
      OSError: it is no longer shared.
    """
    with open(shared.path, "r+b", buffering=0) as file:
        if os.fstat(file.fileno()).st_ino != shared.inode:  # the number belongs to another file by now
            raise OSError(f"{shared.path} is no longer shared")
        yield file.fileno()


def put(file: int, images: UInt8[np.ndarray, "..."], start: int = 0) -> None:
    """Write images from this byte of a file on."""
    rest = np.ascontiguousarray(images).reshape(-1).data
    while rest:
        done = os.pwrite(file, rest, start)
        rest, start = rest[done:], start + done


def take(file: int, shape: tuple[int, ...], start: int = 0) -> UInt8[np.ndarray, "..."]:
    """Return images of this shape from this byte of a file on.

    Raises:
      OSError: the file ends before.
    """
    images = np.empty(shape, np.uint8)
    rest = images.reshape(-1).data
    while rest:
        if not (done := os.preadv(file, [rest], start)):
            raise OSError(f"shared memory ends after {start} bytes")
        rest, start = rest[done:], start + done
    return images


def _submit(processes: int, function: Callable, arguments: tuple) -> Any:
    """Submit a call; processes started by it never see SIGTERM and SIGINT.

    A scheduler sends SIGTERM to all processes, and the one that trains ends its step first.
    """
    resource_tracker.ensure_running()  # it would unblock signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        return _executor(processes, function).submit(function, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def _executor(processes: int, function: Callable) -> Any:
    """Keep processes for each function: loky takes one that imports torch after other work for a leak."""
    import loky

    return loky.ProcessPoolExecutor(processes, timeout=_IDLE_SECONDS, initializer=_follow_parent)


def _follow_parent() -> None:
    """Let a process end when its parent does, however that ends: after a SIGKILL of it the others would stay."""
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
