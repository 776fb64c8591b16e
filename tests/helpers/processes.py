"""Searches and evaluations in processes of their own, and launch.py in this one."""

import contextlib
import itertools
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from fsjax.experiment import command
from fsjax.runtime import interrupt

ROOT = pathlib.Path(__file__).parents[2]


def of_devices(devices):
    """XLA's flags of a process with this many devices."""
    return f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"


def environment(devices):
    """That of a process with this many devices, which finds the tests and fsjax."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "XLA_FLAGS": of_devices(devices), "PYTHONPATH": path}


def python(code, *words, cwd=None, **variables):
    """A process of Python that has ended, with what it printed; variables of its environment, None for none."""
    own = {name: value for name, value in (os.environ | variables).items() if value is not None}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True)


def free_address():
    """An address of this machine that nothing listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(directory, output, *, devices, processes=1, worker=("tests/helpers/search_worker.py",)):
    """The processes of one search; each has this many devices."""
    words = [sys.executable, *worker, directory, output]
    address = [free_address(), str(processes)] if processes > 1 else []
    own = {"cwd": ROOT, "env": environment(devices), "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen([*words, *address, *([str(index)] if address else [])], **own) for index in range(processes)
    ]


def finish(workers):
    """What each of them printed, once all have ended well."""
    printed = [worker.communicate(timeout=300)[1] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), printed
    return printed


def computed(files):
    """Rows of tables, such as (class, mask) pairs, in the files; a row that was computed twice counts twice."""
    return sum(len(np.load(file)["items"]) for file in files)


@contextlib.contextmanager
def stopped(looks=0):
    """A stop is asked for once what runs inside has looked for one this often; it has to end by that."""
    seen = itertools.count()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(interrupt.Terminated):
        patch.setattr(interrupt, "requested", lambda: next(seen) >= looks)
        yield


def launched(monkeypatch, capfd, *arguments):
    """The exit status of launch.py with these arguments, and what it printed."""
    monkeypatch.chdir(ROOT)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handlers = list(logging.root.handlers)
    try:
        status = command.main(["launch.py", *arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # Its own writes to the standard error of this test.
        logging.root.handlers[:] = handlers
    printed = capfd.readouterr()
    return status, printed.err + printed.out
