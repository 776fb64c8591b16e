"""Processes that share work: they start and end with the one they work for, and a signal for it is not theirs."""

import contextlib
import operator
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fsjax.runtime import workers
from fsjax.runtime.errors import InputError

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


def test_calls_return_in_order_and_wait_for_each_other_before_an_error(tmp_path):
    assert workers.call(2, "", operator.mul, [(2, 3), (4, 5), (6, 7)]) == [6, 20, 42]
    slow = f"import pathlib, time; time.sleep(0.5); pathlib.Path({str(tmp_path / 'file')!r}).touch()"
    with pytest.raises(ZeroDivisionError):
        workers.call(2, "", exec, [("1 / 0",), (slow,)])
    assert (tmp_path / "file").exists()


WRITE = """
import numpy as np
from fsjax.runtime import workers
with workers.opened(workers.{shared}) as file:
    workers.put(file, workers.take(file, (2, 3), {start}) * 2, {start})
"""


def doubled(images):
    """The images, the first and the last two of them doubled by other processes."""
    with workers.shared_images(images.shape) as (array, shared):
        array[:] = images
        workers.call(2, "", exec, [(WRITE.format(shared=shared, start=start),) for start in (0, 12)])
        return array


def test_other_processes_read_and_write_what_is_shared_and_memory_serves_again_when_its_array_is_gone(monkeypatch):
    monkeypatch.setattr(workers, "_SPARE", [])
    images, times = np.arange(18, dtype=np.uint8).reshape(6, 3), np.array([2, 2, 1, 1, 2, 2], np.uint8)[:, None]
    first, second = doubled(images), doubled(images + 1)
    np.testing.assert_array_equal(first, images * times)
    np.testing.assert_array_equal(second, (images + 1) * times)
    view, address = first[3:], first.ctypes.data
    del first
    assert not workers._SPARE, "a view keeps it"
    del view
    assert len(workers._SPARE) == 1
    third = doubled(images)
    assert third.ctypes.data == address and not workers._SPARE
    np.testing.assert_array_equal(second, (images + 1) * times)
    for size in range(20, 40):
        with workers.shared_images((size,)):
            pass
    assert [len(memory.mapped) for memory in workers._SPARE] == [36, 37, 38, 39]


def test_images_are_not_read_behind_the_end():
    with workers.shared_images((5, 3)) as (_, shared), workers.opened(shared) as file:
        assert workers.take(file, (1, 3), 12).shape == (1, 3)
        with pytest.raises(OSError, match="ends after 15 bytes"):
            workers.take(file, (2, 3), 12)


def test_after_an_error_nothing_is_written_to_what_has_the_number_next(tmp_path):
    with pytest.raises(ZeroDivisionError), workers.shared_images((18,)) as (_, shared):
        workers.call(2, "", exec, [("1 / 0",)])
    number, file = int(shared.path.rpartition("/")[2]), tmp_path / "file"
    file.write_bytes(b"a checkpoint, maybe")
    with file.open("r+b") as other:
        moved = other.fileno() == number or os.dup2(other.fileno(), number)
        with pytest.raises(OSError, match="no longer shared"):
            workers.call(2, "", exec, [(WRITE.format(shared=shared, start=0),)])
        if moved is not True:
            os.close(number)
    assert file.read_bytes() == b"a checkpoint, maybe"


def test_a_process_that_was_ended_is_told_and_others_are_started():
    workers.call(3, "", time.sleep, [(0,)])
    end = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(InputError, match=r"^train\.augment: a process of augmix was ended, maybe for want of memory$"):
        workers.call(3, "train.augment: a process of augmix", exec, [(end,)])
    assert workers.call(3, "", operator.neg, [(1,)]) == [-1]


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
