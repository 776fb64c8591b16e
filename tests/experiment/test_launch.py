"""The command line as a user meets it: exit statuses, one-line errors, the name of the workdir."""

import importlib
import pathlib
import re

import pytest

from configs import dfm_vit
from fsjax.evaluation import first_look
from fsjax.experiment import command, runner
from fsjax.runtime import config_fields
from tests.helpers import results
from tests.helpers.processes import python

ROOT = pathlib.Path(__file__).parents[2]
VIT = "--config=configs/dfm_vit.py"
RATES = {0.05: results.map_rates([0.5, 0.9])}


MISTAKES = (
    ([], "--config: got nothing; expected an experiment, such as --config=configs/dfm_vit.py"),
    (["--config=configs/nothing.py"], "--config: got 'nothing'; expected adcs, augment, "),
    (["--config=mine/dfm_vti.py"], "--config: got 'mine/dfm_vti'; expected "),
    (["--config=dfm_vti:cifar10"], " (did you mean dfm_vit?)"),
    (
        [VIT + ":cifar11"],
        "--config: got the data set 'cifar11'; expected demo, synthetic, cifar10, imagenet10, imagenet1k",
    ),
    ([VIT, "--config.serch.patch=2"], "unknown field 'serch'; did you mean --config.search.patch?"),
    ([VIT, "--config.patch=2"], "--config.patch: unknown field 'patch'; did you mean --config.search.patch?"),
    ([VIT, "--config.search.learned.stepz=1"], "'stepz'; did you mean --config.search.learned.steps?"),
    ([VIT, "--noconfig.profle"], "--config.profle: unknown field 'profle'; did you mean --config.profile?"),
    ([VIT, "--config.seed.x=1"], "--config.seed.x: unknown field 'x'; did you mean --config.seed?"),
    ([VIT, "--config.zzz=2"], "--config.zzz: unknown field 'zzz'; expected adcs, arg, data, "),
    (["--config.search.patch=two", VIT], "search.patch=two: invalid literal for int() with base 10: 'two'"),
    ([VIT, "--config.data.skip_undecodable=7"], "skip_undecodable=7: ('Non-boolean argument to boolean flag', '7')"),
    ([VIT, "--config.data.mean=(1,"], "flag --config.data.mean=(1,: Error while parsing string: (1, as tuple."),
    ([VIT, "--config.search=1"], "flag --config.search=1: Failed to parse '1' as a ConfigDict"),
    ([VIT, "--wokdir=x"], "Unknown command line flag 'wokdir'. Did you mean: workdir ?"),
    ([VIT, "extra"], "command line: got 'extra'; expected only flags"),
    ([VIT, "--config.stages=trian"], " (did you mean train?)"),
    ([VIT, "--config.train.evaluators=validate"], "expected validation, dynamics (did you mean validation?)"),
    ([VIT, "--config.data.source=folder"], "data.root"),
)


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_status_2(launch, tmp_path, arguments, message):
    status, printed = launch(*arguments, *([f"--workdir={tmp_path / 'run'}"] if "--config" not in arguments else []))
    assert status == 2
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert message in printed and "Traceback" not in printed
    assert not [*tmp_path.rglob("*.npz"), *tmp_path.rglob("stages/*")]


def test_a_run_with_a_page_ends_with_its_verdicts_and_another_with_nothing(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *arguments, **keywords: None)
    names = ("ox", "zebra")
    grafts = results.grafts(names, ("spread", "shortcut by phase"), smallest=[None, 0.006])
    results.write(tmp_path, results.evaluation(names, {"removal": results.method(RATES, grafts=grafts)}))
    status, printed = launch(VIT, f"--workdir={tmp_path}")
    assert status == 0 and printed.startswith("1 of 2 classes is a frequency shortcut: zebra. 0.6 % of the plane")
    assert re.search(r"^zebra +shortcut by phase +0\.6 %", printed, re.MULTILINE)
    assert printed.endswith(f"\nPage: {tmp_path}/report/index.html\n")
    assert launch(VIT, f"--workdir={tmp_path}", "--config.stages=search,evaluate") == (0, "")


def test_help_lists_every_experiment_and_flag_without_a_word_of_absl_s_and_without_importing_jax(tmp_path):
    code = "import sys; from fsjax.experiment import command; "
    code += "status = command.main(['launch.py', '--help']); "
    code += "print(status, {'jax', 'numpy', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules))"
    done = python(code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    *lines, last = done.stdout.splitlines()
    assert last == "0 set()" and not done.stderr
    assert "python launch.py --config=configs/dfm_vit.py" in lines[0] and "130 or 143 stopped by SIGINT" in done.stdout
    for file in (ROOT / "configs").glob("*.py"):
        first = file.read_text().splitlines()[0].strip('"')
        listed = any(line.split() == [f"configs/{file.name}", *first.split()] for line in lines)
        assert listed == (file.stem != "common")
    flags = [line.split()[0] for line in lines if line.startswith("  --")]
    assert flags == ["--config", "--config.FIELD", "--workdir", "--quick", "--coordinator", "--processes", "--process"]
    assert len(lines) < 40 and "flagfile" not in done.stdout


def test_help_of_an_experiment_lists_its_fields_with_their_help_and_the_values_that_it_would_run_with(launch):
    status, printed = launch(VIT, "--config.train.steps=7", "--help")
    head, *lines = printed.splitlines()
    assert status == 0 and head == "Fields of configs/dfm_vit.py, set by --config.FIELD=VALUE:"
    found = dict(line.split(maxsplit=1) for line in lines)
    columns = {name: re.split(" {2,}", rest) for name, rest in found.items()}
    assert columns["train.steps"] == ["7", "length of the training in steps, where train.epochs is 0"]
    assert columns["train.optimizer"] == ["'adamw'", "sgd (Nesterov), adamw"] and columns["data.mean"][0] == "()"
    assert columns["search.learned.restarts"][1].startswith("masks learned for each class and share")
    assert not [name for name, rest in columns.items() if len(rest) != 2], "a value and its help"
    assert len({line.index(rest) for line, rest in zip(lines, found.values(), strict=True)}) == 1, "one column"

    def leaves(tree):
        return sum(leaves(value) if isinstance(value, dict) else 1 for value in tree.values())

    assert len(found) == leaves(dfm_vit.get_config().to_dict())
    status, printed = launch(VIT, "--config.train.step=7", "--help")
    assert status == 2 and "did you mean --config.train.steps?" in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([VIT], "runs/dfm_vit-demo"),
        (["--config", "configs/cifar10_cpu.py"], "runs/cifar10_cpu"),
        ([VIT, "--workdir=elsewhere"], "elsewhere"),
        (["--config=dfm_vit:cifar10"], "runs/dfm_vit-cifar10"),
        (["--config", "dfm_vit.py"], "runs/dfm_vit-demo"),
    ],
)
def test_the_workdir_is_named_after_config_and_argument(monkeypatch, words, expected):
    monkeypatch.chdir(ROOT)
    config, directory, _ = command.parse(["launch.py", *words])
    assert str(directory) == expected
    with pytest.raises(AttributeError):
        config.search.nothing = 1


def test_quick_presets_what_the_command_line_leaves_and_names_the_full_command(monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [VIT, "--quick", "--config.search.patch=4", "--config.evaluate.grid=(0.3,)"]
    config, workdir, _ = command.parse(["launch.py", *words])
    assert str(workdir) == "runs/dfm_vit-demo-quick"
    assert (config.search.method, config.search.patch, config.evaluate.grid) == ("graft", 4, (0.3,))
    assert config.evaluate.pairs == first_look.PRESET["evaluate.pairs"][0] and config.search.shares == (0.05,)
    full = f"python launch.py {VIT} --config.search.patch=4 '--config.evaluate.grid=(0.3,)' --config.model.weights="
    assert config.report.first_look == f"{full}runs/dfm_vit-demo-quick"
    config, workdir, _ = command.parse(["fsjax", VIT, "--workdir=w", "--quick", "--config.model.weights=a.pt"])
    assert str(workdir) == "w"
    assert config.report.first_look == f"fsjax {VIT} --workdir=w --config.model.weights=a.pt --workdir=w-full"
    assert not command.parse(["fsjax", VIT])[0].report.first_look


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--config.train.steps=9"], (0.0, 9)),
        (["--config.train.epochs", "2.5", "--config.seed=1"], (2.5, 0)),
        (["--config.seed=1"], (6.0, 0)),
        (["--config.train.steps=9", "--config.train.epochs=2.5"], (2.5, 9)),
        (["--config.train.steps=0"], (6.0, 0)),
    ],
)
def test_a_length_that_the_command_line_sets_replaces_the_other_one_of_the_config_file(monkeypatch, given, expected):
    monkeypatch.chdir(ROOT)
    options = command.parse(["launch.py", "--config=cifar10_cpu", *given])[0].train
    assert (options.epochs, options.steps) == expected


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda file: file.stem)
def test_every_field_of_every_experiment_has_help(file):
    module = importlib.import_module(f"configs.{file.stem}")
    config = module.base() if file.stem == "common" else module.get_config()
    named = {name: config_fields.FIELDS.get(name) for name, _ in config_fields.flat(config)}
    # A study's variants are named by whoever writes them.
    without = [name for name, field in named.items() if not (field and field.help) and not name.startswith("variants.")]
    assert len(named) > 50 and not without
    assert {name for name in named if type(config[name]) is not type(config_fields.FIELDS.get(name, ("",))[0])} == set()
