"""Files of a run: a kill leaves the old file or the new one, and what a killed writer leaves behind goes."""

import pathlib

import numpy as np
import pytest

from fsjax.runtime import files
from tests.helpers.places import full_disk
from tests.helpers.refused import refused


def test_what_killed_writers_leave_is_deleted_and_no_other_file(tmp_path):
    with files.replacing_folder(tmp_path / "7") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
    with files.replacing(tmp_path / "7" / "part.npz") as file:
        file.write(b"whole")
    (folder / "deep").mkdir(parents=True)
    pathlib.Path(file.name).write_bytes(b"half")
    files.remove_leftovers(tmp_path)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == ["7", "7/deep", "7/deep/file", "7/part.npz"]
    assert (tmp_path / "7" / "part.npz").read_bytes() == b"whole"


NOISE = np.random.default_rng(0).normal(size=10**5)
WRITERS = {
    "json": lambda path: files.write_json(path, NOISE.tolist()),
    "text": lambda path: files.write_text(path, "x" * 10**6),
    "npz": lambda path: files.write_npz(path, a=NOISE),
    "npy": lambda path: files.write_npy(path, NOISE),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_line_that_names_the_file_which_stays_as_it_was(tmp_path, kind):
    file = tmp_path / f"result.{kind}"
    file.write_bytes(b"old")
    with full_disk(4096):
        refused(rf"^{file}: cannot be written \(", WRITERS[kind], file)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {file.name: b"old"}


def test_an_error_while_writing_leaves_the_file_as_it_was(place):
    file = place / "file"
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
