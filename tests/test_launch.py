"""The command line as a user meets it: exit statuses, one-line errors, processes that are stopped and killed."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fsjax import dfm

ROOT = pathlib.Path(__file__).parent.parent
VIT = "--config=configs/dfm_vit.py"


@pytest.fixture
def launch(monkeypatch, capfd):
    """Runs launch.py in this process: (arguments) -> (exit status, what it printed)."""
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        handler = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        try:
            status = importlib.reload(importlib.import_module("launch")).main(sys.argv)
        finally:
            signal.signal(signal.SIGTERM, handler)
        printed = capfd.readouterr()
        return status, printed.err or printed.out

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config: missing; accepted: an experiment, such as --config=configs/dfm_vit.py"),
        (["--config"], "--config: missing"),
        (["--config=configs/nothing.py"], "--config: no file 'configs/nothing.py'; accepted: a Python file"),
        ([VIT + ":cifar11"], "no data set 'cifar11'; accepted: synthetic, cifar10, imagenet10, imagenet1k"),
        ([VIT, "--config.serch.patch=2"], "--config.serch.patch: unknown field 'serch'; did you mean 'search'?"),
        ([VIT, "--config.search.patc=2"], "--config.search.patc: unknown field 'patc'; did you mean 'patch'?"),
        ([VIT, "--config.zzz=2"], "--config.zzz: unknown field 'zzz'"),
        ([VIT, "--config.search.patch=two"], "--config.search.patch=two: invalid literal for int()"),
        ([VIT, "--config.data.skip_undecodable=7"], "--config.data.skip_undecodable=7"),
        ([VIT, "--config.search=1"], "--config.search=1"),
        ([VIT, "--wrkdir=x"], "--wrkdir: unknown flag; accepted: --config, --config.FIELD=VALUE, --workdir"),
        ([VIT, "extra"], "argument 'extra' is not a flag"),
        ([VIT, "--config.stages=trian"], "stages: unknown stage 'trian'; accepted: train, adcs, search, evaluate"),
        ([VIT, "--config.model.name=vit"], "model.name: unknown model 'vit'; accepted:"),
        ([VIT, "--config.train.optimizer=adam"], "train.optimizer: unknown optimizer 'adam'; accepted: adamw, sgd"),
        ([VIT, "--config.search.shares=(0.05,1.5)"], "search.shares: 1.5 is not a share of the plane"),
        ([VIT, "--config.data.source=folder"], "data.root"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(launch, tmp_path, arguments, message):
    status, printed = launch(*arguments, *([f"--workdir={tmp_path / 'run'}"] if "--config" not in arguments else []))
    assert status == 2
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert message in printed
    assert not list((tmp_path / "run").rglob("*.npz")) and not (tmp_path / "run" / "checkpoints").exists()


def test_a_workdir_that_is_a_file_is_refused(launch, tmp_path):
    (tmp_path / "file").write_text("")
    status, printed = launch(VIT, f"--workdir={tmp_path / 'file'}")
    assert status == 2 and printed.count("\n") == 1 and "--workdir: " in printed


def test_help_says_how_to_call_it(launch):
    status, printed = launch("--help")
    assert status == 0 and "python launch.py --config=configs/dfm_vit.py" in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([VIT], "runs/dfm_vit-synthetic"),
        ([VIT + ":cifar10"], "runs/dfm_vit-cifar10"),
        (["--config", "configs/cifar10_cpu.py"], "runs/cifar10_cpu"),
        ([VIT, "--workdir=elsewhere"], "elsewhere"),
    ],
)
def test_the_workdir_is_named_after_config_and_argument(monkeypatch, words, expected):
    monkeypatch.chdir(ROOT)
    from fsjax import cli

    monkeypatch.setattr(sys, "argv", ["launch.py", *words])
    module = importlib.reload(importlib.import_module("launch"))
    config, directory = cli.configuration(sys.argv, module.FLAGS, module.CONFIG, module.WORKDIR)
    assert str(directory) == expected
    with pytest.raises(AttributeError):
        config.search.nothing = 1


SMALL = [
    "--config.data.image_size=24",
    "--config.data.synthetic.train_per_class=24",
    "--config.data.synthetic.test_per_class=4",
    "--config.model.name=vit_micro_patch8",
    "--config.train.batch_size=16",
    "--config.train.steps=40",
    "--config.run.checkpoint_every=5",
    "--config.run.save_seconds=0",
    "--config.run.memory_mib=2",
    "--config.search.images_per_class=20",
    "--config.search.patch=2",
    "--config.report.samples=1",
]


def start(directory):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "launch.py", VIT, f"--workdir={directory}", *SMALL]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_saved(directory):
    return max((int(file.name.split(".")[0]) for file in directory.glob("checkpoints/*.sha256.json")), default=0)


def test_a_run_that_is_stopped_ends_as_one_that_never_was(tmp_path):
    """SIGTERM in training and in the search, each time the same command again; tests/test_faults.py kills."""
    whole = start(tmp_path / "whole")
    errors = whole.communicate()[1]
    assert whole.returncode == 0, errors

    broken = tmp_path / "broken"
    parts = broken / "search" / "removal"
    for condition in (lambda: steps_saved(broken) > 0, lambda: len(list(parts.rglob("*.npz"))) > 5):
        process = start(broken)
        wait_for(condition, process)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 143, errors
        assert "the same command goes on" in errors
    kept = {path: path.stat().st_mtime_ns for path in parts.rglob("*.npz")}
    last = start(broken)
    errors = last.communicate()[1]
    assert last.returncode == 0, errors
    assert "train: already done" in errors
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing computed is computed again"

    expected, found = (dfm.DominantFrequencyMaps.load(run / "dfm/removal.npz") for run in (tmp_path / "whole", broken))
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.masks, expected.masks)
    evaluations = [(path / "evaluation.json").read_text() for path in (tmp_path / "whole", broken)]
    assert evaluations[0] == evaluations[1]
    assert not list(broken.rglob("*.tmp"))
