"""Files of a run: a kill leaves the old file or the new one, and what a killed writer leaves behind goes."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from fsjax import workdir

WRITE_AND_HANG = """
import pathlib, sys, time
from fsjax import workdir
with workdir.replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of replacing a file."""
    command = [sys.executable, "-c", WRITE_AND_HANG, str(tmp_path / "class0" / "part.npz")]
    root = pathlib.Path(__file__).parent.parent
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_writer_leaves_is_deleted_and_the_file_stays_as_it_was(tmp_path, writer):
    (tmp_path / "class0" / "part.npz").write_bytes(b"old")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(list(tmp_path.rglob("*.tmp"))) == 1
    workdir.remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.rglob("*.*")] == ["part.npz"]
    assert (tmp_path / "class0" / "part.npz").read_bytes() == b"old"


def test_the_temporary_file_of_a_living_writer_or_of_another_machine_stays(tmp_path, writer):
    (mine,) = tmp_path.rglob("*.tmp")
    elsewhere = tmp_path / ".part.npz.another-machine.1.tmp"
    elsewhere.write_bytes(b"")
    workdir.remove_leftovers(tmp_path)
    assert mine.exists() and elsewhere.exists()


def test_a_file_left_by_an_earlier_process_of_this_number_is_deleted(tmp_path):
    """In a container every start may have the same process number."""
    with workdir.replacing(tmp_path / "part.npz"):
        (name,) = (file.name for file in tmp_path.iterdir())
    assert f".{os.getpid()}." in name
    (tmp_path / name).write_bytes(b"")
    workdir.remove_leftovers(tmp_path)
    assert not (tmp_path / name).exists()
