"""The stage probe: rounds, their grafts, restarts, refused fields, and a planted shortcut that training loses."""

import json
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs import dfm_resnet, mitigate
from fsjax.data.normalisation import normalise
from fsjax.evaluation import probes
from fsjax.evaluation.ood import attacks, corruptions
from fsjax.evaluation.ood.results import OodResult
from fsjax.evaluation.probes import Probes
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import probe, probe_rounds
from fsjax.experiment.stages.probe_rounds import Found
from fsjax.fourier import dfm, spectrum
from fsjax.report import answer
from fsjax.runtime import interrupt, storage
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.training import settings
from fsjax.training.ways import graft
from tests.helpers.refused import refused
from tests.helpers.small_run import final_variables, small_config
from tests.helpers.undrawn import leave_undrawn

ATTACK = "fgsm:8/255"


def make_config(**fields):
    """Two short rounds on 24 pixels and one in the training, of a network that learns nothing much."""
    config = small(mitigate.get_config())
    config.stages = "probe,train,search,evaluate,report"
    config.probe.rounds, config.probe.length, config.probe.pairs, config.probe.points = 2, 0.3, 12, (0.7,)
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


def small(config):
    config.data.image_size = 24
    config.data.synthetic.train_per_class, config.data.synthetic.test_per_class = 24, 6
    config.model.name = "vit_nano_patch8"
    config.train.steps, config.train.batch_size, config.train.warmup_steps = 4, 16, 2
    config.search.images_per_class, config.search.resamples = 8, 0
    config.search.graft.paths, config.search.graft.steps = 6, 2
    config.evaluate.pairs, config.evaluate.grid, config.report.samples = 12, (), 1
    config.report.attributions = 0
    return config


def weights(directory):
    return jax.tree.leaves(final_variables(small_config(), storage.path(directory)))


def use(patch, used):
    """Declare the maps of these classes used, whatever they control."""
    measure = probes.measure
    patch.setattr(probes, "measure", lambda *args, **options: measure(*args, **options)._replace(used=np.array(used)))


@pytest.fixture
def two_in_use(monkeypatch):
    use(monkeypatch, [True, True, False, False])


def config_to_the_page():
    """Networks that learn enough to be told from each other, on corrupted and attacked images as well."""
    config = make_config(stages="probe,train,search,evaluate,ood,report", train__steps=100)
    config.train.optimizer, config.train.learning_rate = "adamw", 3e-3
    config.ood.corruptions, config.ood.attacks, config.ood.images_per_class = "noise", ATTACK, 3
    return config


@pytest.fixture(scope="module")
def to_the_page(tmp_path_factory):
    """The workdir of a run of all stages."""
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        use(patch, [True, True, False, False])
        leave_undrawn(patch)
        runner.run(config_to_the_page(), storage.path(directory))
    return directory


@pytest.mark.usefixtures("two_in_use")
def test_rounds_graft_what_the_ones_before_found_and_the_final_training_all_of_it(to_the_page):
    tmp_path, directory = to_the_page, storage.path(to_the_page)
    found = Probes.read(directory / "probes" / "probes.json")
    grafted = np.load(graft.probed_file(directory))
    first = np.load(tmp_path / "probes" / "frequencies-1.npy")
    assert len(found.rounds) == 3 and found.share == grafted.mean() == found.rounds[2].share
    assert first.sum() == found.rounds[0].added and grafted.sum() == sum(one.added for one in found.rounds)
    assert (grafted & first == first).all()
    assert all(0 < size <= 11 for one in found.rounds for size in one.positions)  # 2 % of 24 x 24
    configs = [json.loads((tmp_path / f"probes/{number}/config.json").read_text()) for number in (1, 2, 3)]
    assert [one["train"]["steps"] for one in configs] == [30, 30, 100]
    assert [one["train"]["until"] for one in configs] == [1, 1, 0.7] and [one["seed"] for one in configs] == [1, 2, 0]
    assert [one["train"]["ways"] for one in configs] == ["", "graft", "graft"]
    assert configs[1]["train"]["graft"]["maps"] == str(tmp_path / "probes" / "frequencies-1.npy")
    # A round is one start of a run; reading its network again is none.
    starts = [len(list((tmp_path / f"probes/{number}/tensorboard").glob("events*"))) for number in (1, 2, 3)]
    assert starts == [1, 1, 1]
    page = (tmp_path / "report" / "graft" / "index.html").read_text()
    assert "What the training was kept from" in page and page.count("The map of ring in probe") == 3
    assert page.count(f"] of {found.rounds[0].positions[0]}</span>") > 0
    assert "the training at 70 %" in page and "1.60 times the images of a standard training" in page

    told = answer.terminal_text(directory, "graft", 0.05, 0.6)
    assert f"Kept from the training: {100 * found.share:.2g} % of the plane, found in 3 probes. Accuracy on" in told
    assert "Images trained on: 1.6 times a standard training's." in told
    assert all(re.search(r"ring still rests on few frequencies \(psi .*\)", text) for text in (told, page))

    # A second run computes nothing, and the final training is tied to the findings.
    before = (tmp_path / "stages" / "train.json").read_text()
    runner.run(config_to_the_page(), directory)
    assert (tmp_path / "stages" / "train.json").read_text() == before
    record = json.loads(before)
    assert {"probes/frequencies.npy", "probes/start.json"} <= record["inputs"].keys()


def test_the_page_has_the_first_network_and_the_last_beside_each_other_on_corrupted_and_attacked_images(to_the_page):
    """Against accuracies that are counted image by image."""
    tmp_path, directory, config = to_the_page, storage.path(to_the_page), config_to_the_page()
    first = Workspace(probe.short_config(config, 1), directory / "probes" / "1")
    test, classifier = first.dataset("test"), first.classifier
    rows = np.flatnonzero(np.arange(len(test)) % 6 < 3)  # six a class, in their order
    chosen = test.subset(rows)

    def right(images):
        logits = [classifier(normalise(image[None], *classifier.mean_std)) for image in images]
        return np.mean(np.argmax(np.concatenate(logits), 1) == chosen.labels)

    def images_of(dataset):
        return dataset.images(np.arange(len(dataset)))

    kinds = [("noise", severity) for severity in range(5)]
    corrupted = [corruptions.corrupted(chosen, rows, *kind, config.seed) for kind in kinds]
    attacker = attacks.make_attacker(classifier.apply, classifier.mean_std, attacks.parse(ATTACK), config.seed)
    attacked = attacker(classifier.params, chosen, rows)
    found = Probes.read(directory / "probes" / "probes.json").before
    assert found.keys() == {"corruptions", attacks.parse(ATTACK).name}
    assert found["corruptions"] == pytest.approx(np.mean([right(images_of(one)) for one in corrupted]), abs=1e-6)
    assert found[attacks.parse(ATTACK).name] == pytest.approx(right(images_of(attacked)), abs=1e-6)
    after = OodResult.read(directory / "ood" / "graft.json").sets
    page = (tmp_path / "report" / "graft" / "index.html").read_text()
    for name, accuracy in found.items():
        row = page.split(f"<td>accuracy: {name}</td>")[1].split("</tr>")[0]
        assert re.findall(r"[\d.]+", re.sub("<.*?>", " ", row)) == [f"{accuracy:.3f}", f"{after[name].accuracy:.3f}"]


def config_of_points():
    """One round and two points of a training that leaves weights as they begin; only `cross` can be grafted."""
    config = make_config(stages="probe,train", train__steps=8, train__learning_rate=0.0)
    config.probe.rounds, config.probe.points, config.probe.exempt_classes = 1, (0.5, 0.75), "ring, square"
    return config


@pytest.fixture(scope="module")
def pointed(tmp_path_factory):
    """The workdir of `config_of_points`, and its log."""
    directory, told = tmp_path_factory.mktemp("points"), []
    with pytest.MonkeyPatch.context() as patch:
        use(patch, [True, True, False, False])
        patch.setattr(probe_rounds.logger, "info", told.append)
        runner.run(config_of_points(), storage.path(directory))
    return directory, "\n".join(told)


def test_the_training_goes_on_from_point_to_point_for_the_steps_that_are_left(pointed):
    directory, told = storage.path(pointed[0]), pointed[1]
    assert json.loads((directory / "probes/start.json").read_text())["run"] == 3
    runs = [directory / "probes/2", directory / "probes/3", directory]
    assert [Checkpoints(run / "checkpoints").newest() for run in runs] == [4, 6, 8]
    for after, *before in zip(*map(weights, reversed(runs)), strict=True):
        for earlier in before:
            np.testing.assert_array_equal(after, earlier)
    found = Probes.read(directory / "probes" / "probes.json")
    assert [(one.end, one.own) for one in found.rounds] == [(0.3, True), (0.5, False), (0.75, False)]
    shares = re.findall(r"grafted from now on: (.*) % of the plane", told)
    assert [float(share) for share in shares] == pytest.approx([100 * one.share for one in found.rounds], abs=0.05)
    configs = [json.loads((directory / f"probes/{number}/config.json").read_text()) for number in (2, 3)]
    assert [one["train"]["graft"]["start"] for one in configs] == ["", str(directory / "probes/2")]
    assert configs[1]["train"]["graft"]["maps"] == str(directory / "probes/frequencies-2.npy")


def test_classes_can_be_exempted_and_a_prefix_of_what_decides_the_others_is_grafted(pointed):
    directory, config = storage.path(pointed[0]), config_of_points()
    found = np.load(directory / "probes" / "frequencies-1.npy")
    maps = dfm.DominantFrequencyMaps.load(directory / "probes" / "1" / "dfm" / "graft.npz")
    first = Workspace(probe.short_config(config, 1), directory / "probes" / "1")
    energy = probe_rounds._energy(first.dataset("train"), first.classifier.mean_std)
    cross = probes.decisive(maps.masks[0], maps.scores, energy)[1]
    prefixes = probes.prefixes(cross, maps.scores[1])
    assert any((found == prefix).all() for prefix in prefixes) and found.any()
    assert Probes.read(directory / "probes" / "probes.json").exempt == (True, False, False, True)


@pytest.mark.usefixtures("two_in_use")
def test_a_stopped_probe_goes_on_where_it_was(pointed, tmp_path, monkeypatch):
    config, whole, stopped = config_of_points(), storage.path(pointed[0]), storage.path(tmp_path)
    config.stages = "probe"
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "requested", lambda: (stopped / "probes" / "2").exists())
        with pytest.raises(interrupt.Terminated):
            runner.run(config, stopped)
    runner.run(config, stopped)
    for name in ("probes.json", "frequencies.npy", "frequencies-1.npy"):
        assert (stopped / "probes" / name).read_bytes() == (whole / "probes" / name).read_bytes()


class Trained(probe_rounds.Rounds):
    """Rounds that add something or nothing, by networks that learn this number of four classes."""

    def __init__(self, adds, learned):
        self.adds, self.lengths, self.done = adds, [], []
        self.swapped = np.where(np.arange(4) < learned, 1.0, 0.0)

    def train_anew(self, lengths):
        self.lengths.append(lengths)
        self.done.append(SimpleNamespace(swapped=self.swapped))
        return self.adds[len(self.done) - 1]


@pytest.mark.parametrize(
    ("rounds", "learned", "adds", "lengths"),
    [
        (3, 1, [False, True, True], [1, 2, 2]),
        (3, 1, [False] * 3, [1, 2]),
        (3, 2, [False] * 3, [1, 1]),
        (3, 4, [False, True, False], [1, 1, 1]),
        (3, 4, [False, False, True], [1, 1]),
        (4, 4, [True, False, False, True], [1, 1, 1]),
    ],
)
def test_short_trainings_end_when_two_in_a_row_add_nothing_and_are_longer_where_few_classes_are_learned(
    rounds, learned, adds, lengths
):
    """One may have learned the true cue by chance. With fewer than half of four classes they are twice as long."""
    trained = Trained(adds, learned)
    probe._train_short(trained, rounds)
    assert trained.lengths == lengths
    config = make_config(train__steps=10)
    steps = [probe.short_config(config, 1, lengths=length).train.steps for length in lengths]
    assert steps == [3 * length for length in lengths]


def ranked(*scores):
    """The map of a class with these orbits, and the scores."""
    plane, orbits = np.zeros((1, 24, 24)), spectrum.orbits(24, 24)
    for orbit, score in scores:
        plane[0][orbits == orbit] = score
    return plane > 0, plane


def test_no_more_than_a_share_of_the_plane_is_grafted_and_the_log_tells(caplog, monkeypatch):
    of_class = ranked((5, 1.0), (6, 0.9), (7, 0.8), (8, 0.7))
    added = probe_rounds._added(*of_class, np.zeros((24, 24), bool))
    np.testing.assert_array_equal(added, np.isin(spectrum.orbits(24, 24), (5, 6, 7, 8)))
    monkeypatch.setattr(probe_rounds, "_MOST", 8 / 576)
    before = np.isin(spectrum.orbits(24, 24), (20, 21))
    added = probe_rounds._added(*of_class, before)
    np.testing.assert_array_equal(added, np.isin(spectrum.orbits(24, 24), (5, 6)))
    assert "exceed 0.0139 of the plane; the first frequencies of each are grafted" in caplog.text


def test_where_nothing_is_found_the_training_is_a_standard_one(tmp_path, monkeypatch):
    use(monkeypatch, [False] * 4)
    runner.run(make_config(stages="probe,train", probe__rounds=1), storage.path(tmp_path / "mitigated"))
    standard = small(dfm_resnet.get_config())
    standard.data.name, standard.stages = "biased", "train"
    standard.train.learning_rate = make_config().train.learning_rate
    runner.run(standard, storage.path(tmp_path / "standard"))
    found = Probes.read(storage.path(tmp_path / "mitigated" / "probes" / "probes.json"))
    assert [one.end for one in found.rounds] == [0.3, 0.7] and found.share == 0 and found.cost == 1.3
    assert answer.probes_text(found, 0.5).startswith("Nothing was kept from the training")
    for mitigated, standard in zip(*map(weights, (tmp_path / "mitigated", tmp_path / "standard")), strict=True):
        np.testing.assert_array_equal(mitigated, standard)


@pytest.mark.parametrize("arg", ["synthetic", "cifar10", "imagenet10", "imagenet1k"])
def test_a_round_is_a_training_that_can_be_run_for_every_data_set(arg):
    config = mitigate.get_config(arg)
    config.train.ways = "amplitude_swap, graft"
    for file, names in ((None, "amplitude_swap"), (storage.path("found.npy"), "amplitude_swap,graft")):
        one = probe.short_config(config, 2, Found(file))
        assert one.train.ways == names and one.train.graft.maps == str(file or "probe")
        assert one.train.graft.start == ""
        one.train.ways = ""  # no file is there to be read
        settings.check(one)
    lengths = [settings.num_steps(of.train, 10_000) for of in (config, one)]
    assert lengths[1] == pytest.approx(0.3 * lengths[0], rel=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probe__points": (0.7, 0.5)}, "probe.points: got (0.7, 0.5); expected rising shares above 0 and below 1"),
        ({"probe__pairs": 5}, "probe.pairs: got 5; expected 10 or more"),
        ({"probe__exempt_classes": "circle"}, "probe.exempt_classes: got 'circle'"),
        ({"train__ways": ""}, "train.ways: got '' with train.graft.maps='probe'; expected graft with 'probe'"),
        ({"train__until": 0.5}, "train.until: got 0.5; expected 1 with the stage probe"),
        ({"model__weights": "resnet.pt"}, "model.weights: got 'resnet.pt'; expected '' for the stage probe"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_and_leaves_nothing(tmp_path, fields, message):
    refused(re.escape(message), runner.run, make_config(**fields), storage.path(tmp_path / "run"))
    assert not [*tmp_path.glob("run/probes/*/checkpoints")]
