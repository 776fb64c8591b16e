"""launch.py in this process."""

import logging
import pathlib
import signal

from fsjax.experiment import command

ROOT = pathlib.Path(__file__).parents[2]


def launched(monkeypatch, capfd, *arguments):
    """The exit status of launch.py with these arguments, and what it printed."""
    monkeypatch.chdir(ROOT)
    handler, handlers = signal.getsignal(signal.SIGTERM), list(logging.root.handlers)
    try:
        status = command.main(["launch.py", *arguments])
    finally:
        signal.signal(signal.SIGTERM, handler)
        # Its own writes to the standard error of this test.
        logging.root.handlers[:] = handlers
    printed = capfd.readouterr()
    return status, printed.err or printed.out
