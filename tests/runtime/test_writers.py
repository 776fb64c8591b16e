"""Where people watch a run: TensorBoard, read back by TensorBoard itself, and Weights & Biases, by a stand-in."""

import json
import logging
import sys
import types

import numpy as np
import pytest

from fsjax import search
from fsjax.evaluation import evaluate as evaluate_stage
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.fourier import dfm
from fsjax.runtime import metrics
from tests.helpers import results, stand_in_wandb
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config

# TensorBoard's own reader, without the seconds that its import of TensorFlow takes: it looks for this name.
sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.plugins.hparams import metadata  # noqa: E402

SHARES = (0.05, 0.2)
MASKS = np.random.default_rng(0).random((2, 4, 24, 24)) < 0.3
NAMES = ("C0", "C1", "C2", "C3")
RATES = {"tpr": [0.5, 1.0, None, 0.0], "fpr": [0.25, 0.0, 0.0, 0.25]}
KINDS, PSI = ("shortcut by phase", "shortcut by amplitude", "undecided", "spread"), [0.75, 1.0, None, -0.25]


FOUND = {"accuracy": 0.75, "mean_tpr": 0.5, "mean_fpr": 0.125, "mean_psi": 0.5, "shortcuts": 2}


def watched_config():
    """A config of a run of two steps that W&B follows, with drawn maps."""
    fields = {"stages": "train,search,evaluate", "search__method": "drawn", "search__shares": SHARES, "train__steps": 2}
    fields |= {"data__synthetic__train_per_class": 8, "data__synthetic__test_per_class": 4, "report__share": 0.2}
    return small_config(**fields, run__log_every=1, wandb__project="shortcuts", wandb__mode="offline")


def drawn(problem):
    return dfm.DominantFrequencyMaps(MASKS, SHARES, None, problem.classes, "drawn", "train", np.ones(4, int), 0, {})


def judged(config, directory, *others):
    """As the stage evaluate leaves it, without judging anything."""
    grafts = results.grafts(NAMES, KINDS, share=0.2, psi=PSI)
    drawn = results.method({0.05: results.map_rates([0.0] * 4), 0.2: results.map_rates(**RATES)}, grafts=grafts)
    plain = results.unfiltered([1.0] * 4, [0.0] * 4, accuracy=0.75)
    results.write(directory, results.evaluation(NAMES, {"drawn": drawn}, of_images=plain))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run, and the same with another threshold, which evaluates anew."""
    directory = tmp_path_factory.mktemp("writers") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", stand_in_wandb)
        patch.setitem(search.SEARCHES, "drawn", search.Method(drawn))
        patch.setattr(evaluate_stage, "run", judged)
        runner.run(watched_config(), directory)
        config = watched_config()
        config.evaluate.threshold, config.wandb.entity = 0.0, "lab"
        runner.run(config, directory)
        yield directory


def scalars_of(folder):
    board = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def test_tensorboard_s_table_has_the_settings_and_what_was_found_in_the_end(done):
    (file,) = (done / "tensorboard" / "drawn").iterdir()  # the first evaluation's is gone
    board = EventAccumulator(str(file)).Reload()
    begun = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = metadata.parse_session_start_info_plugin_data(begun)
    fields = {name: getattr(value, value.WhichOneof("kind")) for name, value in started.hparams.items()}
    assert fields["train.learning_rate"] == 0.1 and fields["evaluate.threshold"] == 0.0
    assert fields["search.method"] == "drawn" and fields["search.shares"] == str(list(SHARES))
    assert fields["data.skip_undecodable"] is False
    assert not [name for name in fields if name.startswith(("run.", "wandb.", "search.learned."))]
    metadata.parse_session_end_info_plugin_data(board.SummaryMetadata("_hparams_/session_end_info").plugin_data.content)
    assert {tag: value for tag, ((_, value),) in scalars_of(file).items()} == FOUND


def test_weights_and_biases_goes_on_with_one_run_and_gets_what_tensorboard_gets(done):
    first, second = stand_in_wandb.runs
    assert first.given["id"] == second.given["id"] == json.loads((done / "wandb.json").read_text())["id"]
    assert first.given["resume"] == second.given["resume"] == "allow"
    assert (first.given["project"], first.given["entity"], second.given["entity"]) == ("shortcuts", None, "lab")
    assert first.given["config"]["train"]["learning_rate"] == 0.1 and first.given["mode"] == "offline"
    assert first.given["name"] == first.given["dir"] == str(done)
    assert first.exit_code == second.exit_code == 0

    expected = scalars_of(done / "tensorboard")
    logged = [entry for run in (first, second) for entry in run.history]
    found = {}
    for entry in logged:
        (step,) = [name for name in entry if name.endswith("/step")]
        for name in entry.keys() - {step}:
            assert name.startswith(step.removesuffix("step")) and first.steps[step.replace("step", "*")] == step
            found.setdefault(name, []).append((entry[step], entry[name]))
    assert found.keys() == expected.keys()
    for tag, values in expected.items():
        # TensorBoard orders files of the same second by their names.
        np.testing.assert_allclose(np.array(sorted(found[tag]), float), np.array(sorted(values), float), rtol=1e-6)
    assert second.summary == {f"drawn/{name}": value for name, value in FOUND.items()}


def test_a_run_that_ends_in_an_error_is_no_finished_one_and_reading_begins_none(done, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", stand_in_wandb)
    config = watched_config()
    config.stages = "search"
    refused("no trained model", runner.run, config, tmp_path)
    assert stand_in_wandb.runs[-1].exit_code == 1
    monkeypatch.setitem(sys.modules, "wandb", stand_in_wandb)
    read = tmp_path / "read"
    count, workspace = len(stand_in_wandb.runs), Workspace(watched_config(), read)
    assert workspace.dataset("test").classes == NAMES
    assert len(stand_in_wandb.runs) == count and [path.name for path in read.iterdir()] == ["images.json"]


def test_where_a_run_is_watched_is_no_part_of_its_result(done, caplog):
    """The workdir of a run that was watched, without Weights & Biases."""
    caplog.set_level(logging.INFO, "fsjax")
    config = watched_config()
    config.wandb.project, config.evaluate.threshold = "", 0.0
    count = len(stand_in_wandb.runs)
    runner.run(config, done)
    lines = [record.getMessage() for record in caplog.records if record.name == "fsjax.experiment.pipeline"]
    assert [line.partition(":")[0] for line in lines if "already done" in line] == ["train", "search", "evaluate"]
    assert len(stand_in_wandb.runs) == count


@pytest.mark.parametrize("folder", [False, True], ids=["nothing", "a folder of its name"])
def test_a_missing_package_is_told_with_its_installation_before_anything_is_written(tmp_path, monkeypatch, folder):
    if folder:  # as the package itself leaves one
        (tmp_path / "wandb").mkdir()
        monkeypatch.delitem(sys.modules, "wandb", raising=False)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
    else:
        monkeypatch.setitem(sys.modules, "wandb", None)
    message = r"^wandb\.project: 'shortcuts' needs .*: pip install 'fsjax\[wandb\]'$"
    refused(message, runner.run, watched_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_mode_that_is_none_of_ours_a_refusal_and_a_damaged_id_are_one_line(tmp_path, monkeypatch):
    config = watched_config()
    config.wandb.mode = "shared"
    refused(r"wandb\.mode: got 'shared'; expected online, offline", metrics.check_wandb, config.wandb)
    config.wandb.mode = "online"
    monkeypatch.setitem(sys.modules, "wandb", stand_in_wandb)

    def no_key(**given):
        raise stand_in_wandb.Error("No API key configured.\nUse `wandb login`.")

    with monkeypatch.context() as patch:
        patch.setattr(stand_in_wandb, "init", no_key)
        refused(r"No API key configured\. Use `wandb login`\.; expected offline", metrics.start_wandb, config, tmp_path)
    (tmp_path / "wandb.json").write_text('{"id"')
    refused(r"wandb\.json: not JSON", metrics.start_wandb, config, tmp_path)
