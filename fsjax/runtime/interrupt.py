"""How a run ends early: SIGTERM or SIGINT stops it at a safe point, and the loss of another process with status 1."""

import ctypes
import os
import signal


class Terminated(Exception):
    """Raised at a safe point after SIGTERM or SIGINT came."""


_received: signal.Signals | None = None
_abort_handler = None


def install() -> None:
    """Make SIGTERM and SIGINT request a stop at the next safe point, and a second one end the process at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)


def requested() -> bool:
    """Return whether SIGTERM or SIGINT has come."""
    return _received is not None


def check() -> None:
    """Raise Terminated here, at a safe point of a loop, if SIGTERM or SIGINT has come."""
    if requested():
        raise Terminated


def end_with_the_others() -> None:
    """End this process with status 1, or as a signal asks, when JAX loses another process of the run.

    JAX prints the cause and aborts, which alone would mean status 134 and a core dump. In JAX 0.10,
    `missed_heartbeat_callback` aborts with std::bad_cast, and `jax_enable_recoverability` needs process 0.
    """
    global _abort_handler
    # ctypes: Python runs its own handlers in the main thread, and abort() does not wait for that.
    _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os._exit(exit_status(otherwise=1)))
    ctypes.CDLL(None).signal(signal.SIGABRT, _abort_handler)


def one_of_several() -> bool:
    """Return whether `end_with_the_others` was called."""
    return _abort_handler is not None


def exit_status(otherwise: int = 128 + signal.SIGTERM) -> int:
    """Return 128 + the signal that came to this process, as shells do: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + _received if _received else otherwise


def _on_signal(number: int, frame: object) -> None:
    global _received
    _received = signal.Signals(number)
    signal.signal(number, signal.SIG_DFL)
