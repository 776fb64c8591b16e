"""Files of a run: a kill leaves the old file or the new one, and what a killed writer leaves behind goes."""

import pathlib
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError

WRITE_AND_HANG = """
import pathlib, sys, time
from fsjax.runtime import files
with files.replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of replacing a file."""
    command = [sys.executable, "-c", WRITE_AND_HANG, str(tmp_path / "class0" / "part.npz")]
    root = pathlib.Path(__file__).parents[2]
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
    files.remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.rglob("*.*")] == ["part.npz"]
    assert (tmp_path / "class0" / "part.npz").read_bytes() == b"old"


def test_what_a_killed_writer_leaves_of_a_folder_goes_too(tmp_path):
    with files.replacing_folder(tmp_path / "7") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        name = folder.name
    assert (tmp_path / "7" / "deep" / "file").read_text() == "x"
    (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / name / "deep" / "file").write_text("x")
    files.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["7"]


@pytest.fixture
def small_disk():
    """Files beyond 4 KiB cannot be written, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


NOISE = np.random.default_rng(0).normal(size=10**5)
WRITERS = {
    "json": lambda path: files.write_json(path, NOISE.tolist()),
    "text": lambda path: files.write_text(path, "x" * 10**6),
    "npz": lambda path: files.write_npz(path, a=NOISE),
    "npy": lambda path: files.write_npy(path, NOISE),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_line_that_names_the_file_which_stays_as_it_was(tmp_path, small_disk, kind):
    file = tmp_path / f"result.{kind}"
    file.write_bytes(b"old")
    with pytest.raises(InputError) as caught:
        WRITERS[kind](file)
    assert str(caught.value).startswith(f"{file}: cannot be written (") and "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {file.name: b"old"}


def test_a_place_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "stages").write_text("a file")
    with pytest.raises(InputError, match=r"stages/train\.json: cannot be written \((Not a directory|File exists)\)"):
        files.write_json(tmp_path / "stages" / "train.json", {})


@pytest.mark.parametrize("url", ["disk", "memory://test-workdir"])
def test_an_error_while_writing_leaves_the_file_as_it_was(tmp_path, url):
    file = (tmp_path if url == "disk" else storage.path(url)) / "file"
    files.write_text(file, "old")
    with pytest.raises(ZeroDivisionError), files.replacing(file) as opened:
        opened.write(b"new")
        1 / 0  # noqa: B018
    assert file.read_text() == "old"
    with files.replacing(file) as opened:
        opened.write(b"new")
        assert file.read_text() == "old", "not before it is whole"
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir()] == ["file"]
