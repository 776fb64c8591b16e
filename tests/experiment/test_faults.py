"""Faults, end to end: a run ends with the results of an undisturbed run, or says in one line what is wrong."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from benchmarks.cost import killed
from fsjax.runtime import files
from tests.helpers.data_config import save_images
from tests.helpers.processes import launched, of_devices

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "--config=configs/dfm_vit.py"
FIELDS = killed.FIELDS | {"train.steps": 15, "search.patch": 3, "search.resamples": 2}
# Most of a start's seconds would be the report: only those that may be killed in one make it, of figures not drawn.
FIELDS |= {"evaluate.pairs": 0, "evaluate.grid": (0.3,), "stages": "train,search,evaluate", "report.attributions": 0}
WHOLE, UNDRAWN = "train,search,evaluate,report", ("tests/helpers/undrawn.py",)


@pytest.fixture(scope="module", autouse=True)
def equal_devices():
    """Trainings of other processes end with the bits of those of this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", of_devices(jax.local_device_count()))
        yield


def words(directory, **changes):
    fields = FIELDS | {name.replace("__", "."): value for name, value in changes.items()}
    return [CONFIG, f"--workdir={directory}", *(f"--config.{name}={value}" for name, value in fields.items())]


def start(directory, *, before=("launch.py",), environment=None, **changes):
    """A process of launch.py."""
    command, env = [sys.executable, *before, *words(directory, **changes)], {**os.environ, **(environment or {})}
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def end_of(process):
    """(exit status, standard error)"""
    printed = process.communicate(timeout=300)[1]
    return process.returncode, printed


@pytest.fixture
def launch(launch, undrawn):
    """Runs launch.py in this process: (workdir, fields) -> (exit status, what it said)."""
    return lambda directory, **changes: launch(*words(directory, **changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of an undisturbed run."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    printed = types.SimpleNamespace(readouterr=lambda: types.SimpleNamespace(err="", out=""))
    with pytest.MonkeyPatch.context() as patch:
        assert launched(patch, printed, *words(directory))[0] == 0
    return directory


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it, to be damaged."""
    return pathlib.Path(shutil.copytree(whole, tmp_path / "run"))


def back_to(directory, stage):
    """Takes a finished run back to the middle of a stage: what came later is gone, what it had kept is there."""
    order = ["train", "search-removal", "evaluate-removal"]
    for later in order[order.index(stage) + 1 :]:
        (directory / "stages" / f"{later}.json").unlink()
    for name in {"train": ["dfm", "search", "evaluation.json"], "search-removal": ["dfm", "evaluation.json"]}[stage]:
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    file = directory / "stages" / f"{stage}.json"
    files.write_json(file, files.read_json(file) | {"done": False})


def assert_same(whole, directory, **changes):
    assert killed.differences(whole, directory, FIELDS | changes) == []
    assert not list(directory.rglob("*.tmp"))


def error_of(printed):
    """The one line that a refusal is."""
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and printed.splitlines()[-1] == lines[0] and "Traceback" not in printed, printed
    return lines[0]


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    """One bit in the middle; of text, one that makes another digit, and one that counts: a float's 17th may not."""
    content = bytearray(file.read_bytes())
    place = len(content) // 2
    if file.suffix in (".json", ".jsonl"):
        digits = [found.end() - 1 for found in re.finditer(rb"[. ][0-7]", content)]
        place = digits[len(digits) // 2]
    content[place] ^= 1
    file.write_bytes(bytes(content))


each_damage = pytest.mark.parametrize("damage", [truncate, flip])


# Damaged files


def damaged(directory, name, damage):
    file = directory / name
    if name == "checkpoint":
        files = [path for path in (directory / "checkpoints" / "15" / "variables").rglob("*") if path.is_file()]
        file = max(files, key=lambda path: path.stat().st_size)
    damage(file)
    return file


@each_damage
@pytest.mark.parametrize(
    "name", ["evaluation.json", "dfm/removal.npz", "stages/train.json", "stages/evaluate-removal.json"]
)
def test_a_damaged_result_is_named_and_made_again_once_it_is_deleted(whole, copy, launch, name, damage):
    # Only a report reads an evaluation that is done.
    stages = {"stages": WHOLE} if name == "evaluation.json" else {}
    file = damaged(copy, name, damage)
    status, printed = launch(copy, **stages)
    assert status == 2 and str(file) in error_of(printed)
    if damage is flip:
        file.unlink()
        assert launch(copy, **stages)[0] == 0
        assert_same(whole, copy, **stages)


@each_damage
def test_a_damaged_checkpoint_is_not_used(whole, copy, launch, damage):
    (copy / "evaluation.json").unlink()
    damaged(copy, "checkpoint", damage)
    status, printed = launch(copy)
    assert status == 2 and "checkpoints/15 is damaged or incomplete; skipping it" in printed
    assert "the newest whole checkpoint is of step 10 of 15; delete stages/train.json there" in error_of(printed)
    if damage is flip:  # what the line advises ends with the same bits
        (copy / "stages" / "train.json").unlink()
        status, printed = launch(copy)
        assert status == 0 and "train: resumes from step 10 of 15" in printed
        assert "search: done in" in printed, "a search rests on the checkpoint it was made from"
        assert_same(whole, copy)


def test_damaged_parts_of_a_search_are_computed_again_and_a_damaged_layout_is_named(whole, copy, launch):
    back_to(copy, "search-removal")
    parts = sorted((copy / "search" / "removal").rglob("*.npz"))
    assert len(parts) >= 8
    layout = copy / "search" / "removal" / "layout.json"
    content = layout.read_bytes()
    for damage in (truncate, flip):
        damage(layout)
        status, printed = launch(copy)
        assert status == 2 and str(layout) in error_of(printed)
        layout.write_bytes(content)
    for part, damage in zip(parts[1::2], [truncate, flip], strict=False):
        damage(part)
    kept = {part: part.stat().st_mtime_ns for part in parts[::2]}
    status, printed = launch(copy)
    assert status == 0, printed
    assert_same(whole, copy)
    assert {part: part.stat().st_mtime_ns for part in kept} == kept, "what is whole is not computed again"


def test_damaged_notes_of_a_run_do_not_stop_it(whole, copy, launch):
    """What a run only writes: its metrics, its config, its command."""
    for name, damage in (("metrics.jsonl", truncate), ("config.json", truncate), ("command.json", flip)):
        damaged(copy, name, damage)
    status, printed = launch(copy)
    assert status == 0, printed
    assert files.read_json(copy / "config.json")["train"]["steps"] == 15
    assert_same(whole, copy)


# Kills


def kill_when(process, condition, seconds=240):
    """SIGKILL at a moment that a condition holds; the process stands still while the condition is looked at again."""
    deadline = time.monotonic() + seconds
    while True:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        if condition():
            process.send_signal(signal.SIGSTOP)
            if condition():
                process.kill()
                process.communicate()
                return
            process.send_signal(signal.SIGCONT)
        time.sleep(0.0005)


@pytest.mark.slow
def test_kills_in_the_middle_of_writes_lose_nothing(whole, tmp_path):
    """In a checkpoint that is half written, in a part of the search, in a page whose figures are there."""
    directory = tmp_path / "run"

    def half_written(folder, suffix=".tmp"):
        with contextlib.suppress(FileNotFoundError):
            return any(path.name.endswith(suffix) for path in (directory / folder).rglob("*"))

    def saved():
        return len(list((directory / "checkpoints").glob("*.sha256.json")))

    kill_when(start(directory), lambda: saved() and half_written("checkpoints"))
    assert half_written("checkpoints") and not (directory / "search").exists()
    kill_when(start(directory), lambda: half_written("search"))
    assert half_written("search") and not half_written("checkpoints") and not (directory / "dfm").exists()
    kill_when(start(directory, before=UNDRAWN, stages=WHOLE), lambda: half_written("report/removal/figures", ".png"))
    assert not (directory / "report" / "index.html").exists() and not half_written("search")
    status, printed = end_of(start(directory, before=UNDRAWN, stages=WHOLE))
    assert status == 0 and "evaluate: already done" in printed, printed
    assert_same(whole, directory, stages=WHOLE)


@pytest.mark.slow
def test_a_kill_at_a_random_moment_loses_nothing(whole, tmp_path):
    found = killed.run(tmp_path, kills=1, seed=6, whole=whole, fields=FIELDS)
    assert found["kills"] == 1 and sum(found["by_stage"].values()) == 1
    assert found["runs"] >= 1 and found["lost"] == found["different"] == 0


# Disks and folders


def limited(size):
    """No file of the process can grow beyond this many bytes: what a full disk says, to root as well."""
    limit = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    return "-c", f"{limit}; runpy.run_path('launch.py', run_name='__main__')"


# JAX reads its cache of compiled programs, and would leave half of one there.
READ_CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1000000"}


@pytest.mark.parametrize("stage", ["train", "search-removal"])
def test_a_full_disk_is_one_line_and_what_was_there_stays(whole, copy, launch, stage):
    back_to(copy, stage)
    shutil.rmtree(copy / "checkpoints" / "15") if stage == "train" else None
    before = {path: path.read_bytes() for path in copy.glob("checkpoints/*.sha256.json")}
    size = 30_000 if stage == "train" else 2_000
    status, printed = end_of(start(copy, before=limited(size), environment=READ_CACHE))
    said = error_of(printed)
    assert status == 2 and said.startswith(f"error: {copy}/") and "cannot be written (File too large)" in said
    assert not list(copy.rglob("*.tmp"))
    assert {path: path.read_bytes() for path in before if path.exists()}.items() <= before.items()
    status, printed = launch(copy)
    assert status == 0, printed
    assert_same(whole, copy)


def test_a_workdir_that_cannot_be_made_or_written_is_one_line(tmp_path, launch):
    """Permissions do not hold root back: a file where a folder is needed does, and so does a limit of no bytes."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run", pathlib.Path("/proc/self/run")):
        status, printed = launch(place)
        assert status == 2 and f"--workdir: {place}" in error_of(printed) and "expected a folder" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    status, printed = end_of(start(tmp_path / "run", before=limited(0), environment=READ_CACHE))
    assert status == 2 and str(tmp_path / "run") in error_of(printed)


# Other runs, other times, other data


def test_a_second_run_is_refused_and_sigint_to_the_first_loses_nothing(whole, copy, launch):
    back_to(copy, "search-removal")
    parts = copy / "search" / "removal"
    shutil.rmtree(parts)
    first = start(copy)
    while first.poll() is None and len(list(parts.rglob("class*/*.npz"))) < 3:
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    status, printed = launch(copy)
    assert status == 2 and f"{copy} is in use" in error_of(printed) and str(first.pid) in printed
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()} == before
    first.send_signal(signal.SIGINT)
    first.send_signal(signal.SIGCONT)
    status, printed = end_of(first)
    assert status == 130 and printed.splitlines()[-1].startswith("stopped by SIGINT"), printed
    assert "Traceback" not in printed
    computed = {path: path.stat().st_mtime_ns for path in parts.rglob("class*/*.npz")}
    assert computed and not (copy / "dfm").exists()
    status, printed = launch(copy)
    assert status == 0 and "train: already done" in printed, printed
    assert {path: path.stat().st_mtime_ns for path in computed} == computed, "nothing computed is computed again"
    assert_same(whole, copy)


def test_images_that_vanish_between_stages_are_told(tmp_path, launch):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            save_images(tmp_path / "data" / split / name, rng.integers(0, 256, (10, 24, 24, 3), np.uint8))
    fields = {"data__source": "folder", "data__root": tmp_path / "data", "train__steps": 2}
    assert launch(tmp_path / "run", stages="train", **fields)[0] == 0
    victim = tmp_path / "data" / "train" / "dog" / "003.png"
    content = victim.read_bytes()
    victim.unlink()
    status, printed = launch(tmp_path / "run", stages="search", **fields)
    assert status == 2 and "class 'dog' has 8, had 9" in error_of(printed)
    (victim.parent / "3 copy.png").write_bytes(content)
    status, printed = launch(tmp_path / "run", stages="search", **fields)
    assert status == 2 and "other names or another order" in error_of(printed)
    (victim.parent / "3 copy.png").rename(victim)
    assert launch(tmp_path / "run", stages="search", **fields)[0] == 0
    # One that is there and is no picture any more.
    victim = tmp_path / "data" / "test" / "cat" / "000.png"
    victim.write_bytes(b"")
    status, printed = launch(tmp_path / "run", stages="evaluate", **fields)
    assert status == 2 and str(victim) in error_of(printed)
