"""Several processes on one workdir: one writes what all share, all read the same, and all see the same folder."""

import json
import pathlib
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from fsjax.runtime import lock, parallel
from fsjax.runtime.errors import InputError
from tests.helpers.places import store
from tests.helpers.processes import environment, free_address

ROOT = pathlib.Path(__file__).parents[2]


def processes(function, *directories):
    """What each of two processes prints, one in each of the directories."""
    address = free_address()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command, workers = [sys.executable, "tests/helpers/workdir_worker.py", function], []
    for index, directory in enumerate(directories):
        words = [*command, directory, address, "2", str(index)]
        workers.append(subprocess.Popen(words, cwd=ROOT, env=environment(devices=1), **pipes))
    try:
        printed = [worker.communicate(timeout=600) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert all(worker.returncode == 0 for worker in workers), printed
    return [json.loads(out.splitlines()[-1]) for out, _ in printed]


def test_one_process_of_a_run_writes_and_all_read_the_same(tmp_path):
    one, other = processes("checkpoint", tmp_path / "run", tmp_path / "run")
    expected = {"refused": "process 0 refuses", "newest": 4, "about": {"at": 4}, "left": 3}
    assert one == other == expected | {"values": [3.0, 4.0]}


def test_processes_that_see_different_folders_are_refused_in_all(tmp_path):
    folders = tmp_path / "one", tmp_path / "other"
    for folder, seen in zip(folders, processes("checkpoint", *folders), strict=True):
        said = f"--workdir: process 1 does not see what process 0 wrote to {folder}; expected a folder that all "
        assert seen["error"] == f"{said}processes share, or gs://..., s3://..."


@pytest.mark.slow
def test_the_main_process_alone_writes_what_all_share(tmp_path):
    """Other processes write the partial results that they have computed, and nothing else, in any stage."""
    main, other = processes("share_files", tmp_path / "run", tmp_path / "run")
    partial = re.compile(r"search/|grafts/|ood/removal/[^/]+/counts/")
    assert {name for name in other if not partial.match(name)} == set()
    assert not set(main) & set(other)
    for name in (
        *("config.json", "command.json", "planted.npz", "adcs.npz", "dfm/removal.npz", "evaluation.json"),
        *("checkpoints/2", "dynamics/00000002.npz", "ood/removal.json", "seed-0/config.json", "dynamics.json"),
        *("report/index.html", "report/dynamics.html", "stages/report-removal.json", "export/vit_nano_patch8.pt"),
    ):
        assert name in main and (tmp_path / "run" / name).exists(), name


# Messages: few, none of them too large for many processes


@pytest.mark.parametrize(("processes", "numbers", "messages"), [(2, 1_000_000, 4), (32, 600_000, 3), (1000, 20_000, 3)])
def test_a_message_of_all_processes_has_at_most_64_mib(monkeypatch, processes, numbers, messages):
    sent = []

    def gather(message):
        sent.append(message.nbytes * processes)
        return np.broadcast_to(message, (processes, len(message)))

    monkeypatch.setattr(jax, "process_count", lambda: processes)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    values = np.arange(numbers, dtype=float)
    np.testing.assert_array_equal(parallel.total(values), processes * values)
    assert len(sent) == messages and max(sent) <= 64 * 2**20


def test_a_merged_value_is_that_of_the_process_which_has_it(monkeypatch):
    gathered = np.array([[1, np.nan, np.nan, np.nan], [np.nan, np.nan, 3, np.nan], [np.nan, 2, np.nan, np.nan]])
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda message: gathered.view(np.uint32))
    np.testing.assert_array_equal(parallel.merge(gathered[0]), [1, 2, 3, np.nan])


# One run at a time


HOLD = """
import pathlib, sys, time
from fsjax.runtime import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_refused_until_the_first_is_gone_however_it_ended(tmp_path):
    """SIGKILL leaves the file, which does not matter."""
    for _ in range(2):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "held\n"
                message = rf"--workdir: {tmp_path}/run is in use by a run with process {process.pid} on \S+; exp"
                with pytest.raises(InputError, match=message), lock.held(tmp_path / "run"):
                    pass
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        assert json.loads((tmp_path / "run" / ".lock").read_text())["pid"] == process.pid
    with lock.held(tmp_path / "run"), lock.held(tmp_path / "run" / "nested"):
        pass


def test_a_store_has_no_lock_and_the_run_says_so_once(caplog):
    place = store()
    with lock.held(place):
        assert (place / ".lock").exists()
    assert not (place / ".lock").exists()
    (record,) = caplog.records
    assert record.getMessage() == f"{place}: a store has no locks; make sure that a single run writes there"
