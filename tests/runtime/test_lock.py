"""One run at a time in a workdir: a second run is refused as long as the first lives."""

import json
import pathlib
import signal
import subprocess
import sys
import uuid

import pytest

from fsjax.runtime import lock, storage
from fsjax.runtime.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
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
    store = storage.path(f"memory://{uuid.uuid4().hex}")
    with lock.held(store):
        assert (store / ".lock").exists()
    assert not (store / ".lock").exists()
    (record,) = caplog.records
    assert record.getMessage() == f"{store}: a store has no locks; make sure that a single run writes there"
