"""The command line as a user meets it: exit statuses, one-line errors, the name of the workdir."""

import importlib
import pathlib
import signal
import sys

import pytest

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
