"""Workers: a thread that reads ahead, and processes that start and end with the process they work for."""

import contextlib
import operator
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from fsjax.runtime import workers
from fsjax.runtime.errors import InputError
from fsjax.runtime.workers import read_ahead

# Without a guard of its main module, as in a notebook or a short script. Two threads call, as readers do.
SCRIPT = """
import concurrent.futures
import sys
import time
from fsjax.runtime import workers
def nap(seconds):
    return workers.call(2, "", time.sleep, 2 * [(seconds,)])
for line in sys.stdin:
    with concurrent.futures.ThreadPoolExecutor(2) as readers:
        print(sum(map(len, readers.map(nap, 2 * [float(line)]))), flush=True)
"""


def test_the_next_item_is_read_while_one_is_used_and_no_more():
    started = [threading.Event() for _ in range(4)]

    def read(item):
        started[item].set()
        return 10 * item

    for item, value in read_ahead(read, range(4)):
        assert value == 10 * item
        if item < 3:
            assert started[item + 1].wait(5), "in a thread"
        assert not any(event.is_set() for event in started[item + 2 :])


def test_an_error_comes_in_its_turn_a_closed_iterator_reads_no_further_and_nothing_is_held():
    items = read_ahead(lambda item: 6 / item, [3, 0, 1])
    assert next(items) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert list(read_ahead(len, [])) == []
    read = []
    items = read_ahead(lambda item: read.append(item), range(9))
    next(items)
    items.close()
    assert read == [0, 1]
    items = read_ahead(lambda item: set(range(item)), [3, 4])
    _, value = next(items)
    held = weakref.ref(value)
    del value
    assert held() is None


def test_calls_return_in_order_wait_for_each_other_and_name_a_worker_that_was_killed(tmp_path):
    assert workers.call(2, "", operator.mul, [(2, 3), (4, 5), (6, 7)]) == [6, 20, 42]
    slow = f"import pathlib, time; time.sleep(0.5); pathlib.Path({str(tmp_path / 'file')!r}).touch()"
    with pytest.raises(ZeroDivisionError):
        workers.call(2, "", exec, [("1 / 0",), (slow,)])
    assert (tmp_path / "file").exists()
    workers.call(3, "", time.sleep, [(0,)])
    end = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(InputError, match=r"^train\.augment: a process of augmix was killed, possibly out of memory$"):
        workers.call(3, "train.augment: a process of augmix", exec, [(end,)])
    assert workers.call(3, "", exec, [("1",)]) == [None]


def children(process):
    """Process ids, of all its threads."""
    found: list[int] = []
    for of_thread in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
            found += map(int, of_thread.read_text().split())
    return sorted(found)


def is_running(pid):
    status = pathlib.Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_processes_outlive_a_sigterm_and_end_with_the_one_they_work_for(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, script], env=environment, **pipes) as running:

        def ask(seconds):
            print(seconds, file=running.stdin, flush=True)

        def end(until):
            while time.monotonic() < until:
                for pid in children(running):
                    os.kill(pid, signal.SIGTERM)

        ask(0.5)
        while not children(running):
            time.sleep(0.001)
        end(time.monotonic() + 2)  # while they start, and later
        assert running.stdout.readline() == "4\n"
        started = children(running)
        commands = [pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in started]
        assert sum("LokyProcess" in command for command in commands) == 2
        end(time.monotonic() + 0.1)
        ask(0)
        assert running.stdout.readline() == "4\n"
        assert children(running) == started
        ask(60)
        time.sleep(1)
        running.kill()
    until = time.monotonic() + 60
    while any(map(is_running, started)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_running, started))
