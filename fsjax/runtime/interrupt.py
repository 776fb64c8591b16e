"""How a run ends early: SIGTERM stops it at a safe point, and the loss of another process ends it with status 1."""

import ctypes
import os
import signal

EXIT_STATUS = 143  # a scheduler restarts the run
LOST_STATUS = 1


class Terminated(Exception):
    """Raised at a safe point after SIGTERM came."""


_requested = False
_abort_handler = None


def install() -> None:
    """Make SIGTERM request a stop at the next safe point, and a second SIGTERM end the process at once."""
    signal.signal(signal.SIGTERM, _on_sigterm)


def requested() -> bool:
    """Return whether SIGTERM has come."""
    return _requested


def check() -> None:
    """Raise Terminated here, at a safe point of a loop, if SIGTERM has come."""
    if requested():
        raise Terminated


def end_with_the_others() -> None:
    """End this process with status 1, or 143 after SIGTERM, when JAX loses another process of the run.

    JAX prints the cause and aborts, which alone would mean status 134 and a core dump. In JAX 0.10,
    `missed_heartbeat_callback` aborts with std::bad_cast, and `jax_enable_recoverability` needs process 0.
    """
    global _abort_handler
    # ctypes: Python runs its own handlers in the main thread, and abort() does not wait for that.
    _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os._exit(lost_status()))
    ctypes.CDLL(None).signal(signal.SIGABRT, _abort_handler)


def one_of_several() -> bool:
    """Return whether `end_with_the_others` was called."""
    return _abort_handler is not None


def lost_status() -> int:
    """Return the exit status of a process that cannot go on without the others."""
    return EXIT_STATUS if requested() else LOST_STATUS


def _on_sigterm(number: int, frame: object) -> None:
    global _requested
    _requested = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
