"""Several processes on one workdir: one writes what all share, all read the same, and all see the same folder."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

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
    expected = {"refused": "process 0 refuses", "newest": 4, "best": 2, "about": {"at": 4}, "left": 3}
    assert one == other == expected | {"values": [2.0, 4.0]}


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
