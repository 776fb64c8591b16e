"""Searches and evaluations in processes of their own."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def start(directory, output, *, devices, processes=1, worker=("tests/helpers/removal_worker.py",)):
    """The processes of one search; each has this many devices."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    address = []
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = [f"127.0.0.1:{free.getsockname()[1]}", str(processes)]
    return [
        subprocess.Popen(
            [
                sys.executable,
                *worker,
                directory,
                output,
                *address,
                *([str(index)] if address else []),
            ],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]


def finish(workers):
    """What each of them printed, once all have ended well."""
    printed = [worker.communicate(timeout=300)[1] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), printed
    return printed


def computed(files):
    """(class, mask) pairs that lie in the files; a pair that was computed twice counts twice."""
    ranges = [file.name.removesuffix(".npz").split("-") for file in files]
    return sum(int(stop) - int(start) for start, stop in ranges)
