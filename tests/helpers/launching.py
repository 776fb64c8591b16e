"""launch.py in this process."""

import importlib
import logging
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).parents[2]


def launched(monkeypatch, capfd, *arguments):
    """The exit status of launch.py with these arguments, and what it printed."""
    monkeypatch.chdir(ROOT)
    handler, handlers = signal.getsignal(signal.SIGTERM), list(logging.root.handlers)
    monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
    try:
        status = importlib.reload(importlib.import_module("launch")).main(sys.argv)
    finally:
        signal.signal(signal.SIGTERM, handler)
        # Its own writes to the standard error of this test.
        logging.root.handlers[:] = handlers
    printed = capfd.readouterr()
    return status, printed.err or printed.out
