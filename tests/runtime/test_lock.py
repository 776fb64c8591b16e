"""One run at a time in a workdir: a living one is not disturbed, and a dead one is in nobody's way."""

import json
import pathlib
import signal
import subprocess
import sys
import threading
import time
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
    """SIGKILL leaves the file there; what it says is of a dead process, and nobody minds."""
    for _ in range(2):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "held\n"
                message = (
                    rf"--workdir: {tmp_path}/run is in use by a run with process {process.pid} on \S+; expected one"
                )
                with pytest.raises(InputError, match=message), lock.held(tmp_path / "run"):
                    pass
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        assert json.loads((tmp_path / "run" / ".lock").read_text())["pid"] == process.pid
    with lock.held(tmp_path / "run"), lock.held(tmp_path / "run" / "nested"):
        pass


def test_a_workdir_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"--workdir: .*file/run cannot be written \(Not a directory\)"
    with pytest.raises(InputError, match=message), lock.held(tmp_path / "file" / "run"):
        pass


@pytest.fixture
def signals(monkeypatch):
    """What this process would have been sent."""
    sent = []
    monkeypatch.setattr(lock.os, "kill", lambda pid, number: sent.append(number))
    return sent


@pytest.fixture
def store(monkeypatch, signals):
    for name, seconds in (("BEAT_SECONDS", 0.05), ("SETTLE_SECONDS", 0.05)):
        monkeypatch.setattr(lock, name, seconds)
    return storage.path(f"memory://{uuid.uuid4().hex}")


def test_the_lease_of_a_living_run_is_respected_and_given_back(store, monkeypatch):
    monkeypatch.setattr(lock, "BEATS", 100)  # on a busy machine the first may be late
    with lock.held(store):
        time.sleep(0.2)
        message = r"--workdir: memory://\w+ is in use by a run with process \d+ on"
        with pytest.raises(InputError, match=message), lock.held(store):
            pass
    assert not (store / ".lock").exists()
    started = time.monotonic()
    with lock.held(store):
        pass
    assert time.monotonic() - started < 100 * lock.BEAT_SECONDS, "nothing to wait for"


def test_the_lease_of_a_run_that_is_gone_is_taken_over_after_a_while(store, caplog):
    """Whatever its clock said: only that it does not change counts."""
    (store / ".lock").write_text(json.dumps({"host": "far", "pid": 7, "run": "old", "time": 4e9}))
    started = time.monotonic()
    with lock.held(store):
        assert time.monotonic() - started >= lock.BEATS * lock.BEAT_SECONDS
        assert json.loads((store / ".lock").read_text())["run"] != "old"


def test_of_two_that_start_at_once_one_is_refused(store, monkeypatch):
    """Both see that nobody is there, and then both write."""
    both, owner, outcomes = threading.Barrier(2), lock._owner, []
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 1.0)
    monkeypatch.setattr(lock, "_owner", lambda: (both.wait(10), owner())[1])

    def start():
        try:
            with lock.held(store):
                time.sleep(0.3)
                outcomes.append("held")
        except InputError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 2 and "held" in outcomes and any("is in use by" in text for text in outcomes), outcomes


def test_a_run_whose_lease_was_taken_over_while_it_slept_stops(store, signals, caplog):
    with lock.held(store):
        other = json.dumps({"host": "far", "pid": 7, "run": "other"})
        (store / ".lock").write_text(other)
        deadline = time.monotonic() + 20
        while not signals:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert signals == [signal.SIGTERM]
    assert "a run with process 7 on far took it over" in caplog.text
    assert (store / ".lock").read_text() == other, "and leaves the other's lease alone"


def test_a_store_that_fails_for_a_while_does_not_end_the_run(store, monkeypatch, caplog):
    with lock.held(store):
        with monkeypatch.context() as broken:
            broken.setattr(lock.files, "write_json", lambda file, value: 1 / 0)
            time.sleep(0.2)
        before = (store / ".lock").read_text()
        time.sleep(0.2)
        assert (store / ".lock").read_text() != before, "it goes on beating"
    assert "not written (division by zero)" in caplog.text
