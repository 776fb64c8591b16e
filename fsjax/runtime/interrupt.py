"""SIGTERM: finish the step under way, save, and exit with 143, so that a scheduler starts the run again."""

import signal

EXIT_STATUS = 143


class Terminated(Exception):
    """Raised at a safe point after SIGTERM came."""


_requested = False


def install() -> None:
    """From now on SIGTERM asks for a stop at the next safe point; a second SIGTERM ends the process at once."""
    signal.signal(signal.SIGTERM, _on_sigterm)


def requested() -> bool:
    """Whether SIGTERM has come."""
    return _requested


def check() -> None:
    """A safe point of a loop.

    Raises:
      Terminated: SIGTERM has come.
    """
    if requested():
        raise Terminated


def _on_sigterm(number: int, frame: object) -> None:
    global _requested
    _requested = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
