"""Threads and processes that work beside the main thread: read ahead, or share a batch of images.

Worker processes are loky's, since concurrent.futures runs the caller's script in its workers, and a script may have no
`if __name__ == "__main__"`.
"""

import concurrent.futures
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from fsjax.runtime.errors import InputError

MOST = 32  # threads or processes
_IDLE_SECONDS = 60  # after which a process without work ends
_LOCK = threading.Lock()

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[tuple[Item, Read]]:
    """Yield each item with `read(item)`, and read the next item in a thread meanwhile.

    An error of `read` is raised at its item's turn. Closing the iterator waits for the read that has begun.
    """
    with ThreadPoolExecutor(1, "fsjax-read-ahead") as thread:
        futures = ((item, thread.submit(read, item)) for item in items)
        following = next(futures, None)
        while following is not None:
            item, future = following
            results = [future.result()]
            del future
            following = next(futures, None)  # starts to read it
            yield item, results.pop()  # not held here, since it may be large


def core_count() -> int:
    """Return how many CPU cores this process may use; a container or taskset may leave fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_processes() -> int:
    """Return how many processes share a batch: one per core, at most MOST."""
    return min(MOST, core_count())


def call(processes: int, name: str, function: Callable, calls: Sequence[tuple]) -> list:
    """Call a function in worker processes, once for each tuple of arguments, and return the results in order.

    The first call starts the workers, which can import the function; later calls use them again. Errors of the function
    are raised as they are, and InputError, which calls a worker `name`, where one was killed.
    """
    import loky  # here, since most runs never need it and it takes a tenth of a second

    try:
        with _LOCK:  # two threads would start the workers twice
            futures = [_submit(processes, function, arguments) for arguments in calls]
        concurrent.futures.wait(futures)  # so that no call runs on after another call's error
        return [future.result() for future in futures]
    except loky.process_executor.TerminatedWorkerError as error:
        _executor.cache_clear()
        raise InputError(f"{name} was killed, possibly out of memory") from error


def _submit(processes: int, function: Callable, arguments: tuple) -> Any:
    """Submit a call; worker processes block SIGTERM and SIGINT.

    A scheduler sends SIGTERM to all processes, but the training process first finishes its step.
    """
    resource_tracker.ensure_running()  # it would unblock signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        return _executor(processes, function).submit(function, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def _executor(processes: int, function: Callable) -> Any:
    """Return the workers of a function. Loky takes a worker that imports torch after other work for a memory leak."""
    import loky

    return loky.ProcessPoolExecutor(processes, timeout=_IDLE_SECONDS, initializer=_follow_parent)


def _follow_parent() -> None:
    """End this worker when its parent ends, even by SIGKILL."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
