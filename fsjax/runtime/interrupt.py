"""SIGTERM: finish the current step, save, and exit with 143, so that a scheduler restarts the run."""

import signal

EXIT_STATUS = 143


class Terminated(Exception):
    """Raised at a safe point after SIGTERM came."""


_requested = False


def install() -> None:
    """Make SIGTERM request a stop at the next safe point, and a second SIGTERM end the process at once."""
    signal.signal(signal.SIGTERM, _on_sigterm)


def requested() -> bool:
    """Whether SIGTERM has come."""
    return _requested


def check() -> None:
    """Raise Terminated here, at a safe point of a loop, if SIGTERM has come."""
    if requested():
        raise Terminated


def _on_sigterm(number: int, frame: object) -> None:
    global _requested
    _requested = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
