"""The results of the stage, against scikit-learn and loops over single images."""

import contextlib
import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, confusion_matrix, recall_score

from fsjax.data import selection
from fsjax.data.dataset import Dataset
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation import evaluate, rates
from fsjax.evaluation.predict import make_predictor
from fsjax.fourier import dfm, masks, spectrum, transforms
from fsjax.runtime import files, interrupt
from tests.helpers.linear_classifier import CONFIG, MEAN_STD, Made, make_classifier, make_maps, predictions


@pytest.mark.parametrize(("each", "transform"), [(0, "fft"), (5, "dft")])
def test_evaluation_is_scikit_learns_on_images_filtered_one_by_one(tmp_path, monkeypatch, each, transform):
    other = {"fft": "dft", "dft": "fft"}[transform]
    monkeypatch.setitem(transforms.INVERSES, other, None)  # neither rates nor grafts use it
    source, classifier, maps = Made((7, 4, 10)), make_classifier(3), make_maps(3)
    config = CONFIG.copy_and_resolve_references()
    config.evaluate.images_per_class, config.evaluate.pairs, config.search.transform = each, each and 4, transform
    config.evaluate.grid, config.evaluate.grid_images = (0.1, 0.2, 0.35, 0.5), 6
    evaluate.run(config, tmp_path, classifier, maps, Dataset(source, 8))
    found = files.read_json(tmp_path / "evaluation.json")
    rows = np.concatenate([selection.sample_of_class(source.labels, label, each, 0) for label in range(3)])
    source.images, source.labels = source.images[rows], source.labels[rows]
    plain = predictions(classifier, source.images, np.ones((8, 8)))
    np.testing.assert_array_equal(found["unfiltered"]["confusion"], confusion_matrix(source.labels, plain))
    assert found["unfiltered"]["accuracy"] == pytest.approx(np.mean(plain == source.labels))
    assert found["unfiltered"]["tpr"] == pytest.approx(recall_score(source.labels, plain, average=None))
    assert found["images"] == ([5, 4, 5] if each else [7, 4, 10])
    removal = found["methods"]["removal"]
    assert removal["searched_on"] == "train" and removal["agreement"] is None
    assert list(removal["shares"]) == ["0.2", "0.5"] and list(removal["grid"]) == ["0.1", "0.35"]
    first = np.concatenate([np.flatnonzero(source.labels == label)[:6] for label in range(3)])
    for share, result in {**removal["shares"], **removal["grid"]}.items():
        chosen = first if share in removal["grid"] else np.arange(len(source.labels))
        for label in range(3):
            kept = masks.best_orbits(maps.scores[label], int(float(share) * 64))
            is_class = source.labels[chosen] == label
            is_called = predictions(classifier, source.images[chosen], kept) == label
            assert result["tpr"][label] == pytest.approx(recall_score(is_class, is_called))
            assert result["fpr"][label] == pytest.approx(1 - recall_score(~is_class, ~is_called))
            limits = binomtest(int(is_called[is_class].sum()), int(is_class.sum())).proportion_ci(method="wilson")
            assert result["tpr_ci"][label] == pytest.approx(limits, abs=1e-12)
            counts = [result[name][label] for name in ("positions", "kept", "others")]
            assert counts == [kept.sum(), kept.mean(), (~is_class).sum()]


def test_a_second_method_is_added_beside_the_first(tmp_path):
    dataset, classifier, maps = Dataset(Made((3, 3)), 8), make_classifier(2), make_maps(2)
    config = CONFIG.copy_and_resolve_references()
    config.evaluate.pairs, config.evaluate.trigger_size = 4, 64
    evaluate.run(config, tmp_path, classifier, maps, dataset)
    first = files.read_json(tmp_path / "evaluation.json")
    config.evaluate.trigger_size = 0
    evaluate.run(config, tmp_path, classifier, dfm.dataclasses.replace(maps, method="other"), dataset)
    both = files.read_json(tmp_path / "evaluation.json")
    assert both["methods"]["removal"] == first["methods"]["removal"] and list(both["methods"]) == ["removal", "other"]
    assert both["methods"]["other"]["shares"] == first["methods"]["removal"]["shares"]
    assert both["triggers"] == first["triggers"] and first["triggers"]["images"], "verdicts of the first name them"


@pytest.fixture
def watched(monkeypatch):
    """A config with verdicts and small tiles; statistic and size of each tile; after which of them the run ends.

    Batches without a filter count as tiles.
    """
    config, passes, stop = CONFIG.copy_and_resolve_references(), [], [False]
    config.evaluate.pairs, config.run.memory_mib = 4, 0
    monkeypatch.setattr(tile_size, "fit", lambda *args, **options: 4)
    monkeypatch.setattr(rates, "POOL", 8)
    monkeypatch.setattr(interrupt, "requested", lambda: stop[0] and len(passes) >= stop[0])

    def count(engine, batches, *args, **options):
        for items, sums in tiles(engine, batches, *args, **options):
            passes.append((*sums, len(items) * sum(int((batch.weights > 0).sum()) for batch in batches)))
            yield items, sums

    def count_unfiltered(*args, **options):
        def predict(*args, **options):
            for indices, logits in whole(*args, **options):
                passes.append(("unfiltered", len(indices)))
                yield indices, logits

        whole = make_predictor(*args, **options)
        return predict

    tiles = Engine.tiles
    monkeypatch.setattr(Engine, "tiles", count)
    monkeypatch.setattr(rates, "make_predictor", count_unfiltered)
    return config, passes, stop


def test_a_killed_evaluation_filters_and_grafts_no_image_twice(tmp_path, watched):
    (config, passes, stop), maps = watched, make_maps(3)
    classifier, test = make_classifier(3), Dataset(Made((7, 4, 10)), 8)
    evaluate.run(config, tmp_path / "whole", classifier, maps, test)
    whole = passes.copy()
    assert not (tmp_path / "whole" / "grafts").exists(), "outcomes are gone once they count"
    assert [len(list(group)) for _, group in itertools.groupby(name for name, _ in whole)][:2] == [4, 16]
    passes.clear()
    directory = tmp_path / "killed"
    for further in (2, 4, 10, 5):  # before filters, under masks of all classes, on a class's own images, in grafts
        stop[0] = len(passes) + further
        with contextlib.suppress(interrupt.Terminated):
            evaluate.run(config, directory, classifier, maps, test)
    assert passes[-1][0] == "captured" and not (directory / "evaluation.json").exists()
    stop[0] = False
    evaluate.run(config, directory, classifier, maps, test)
    for statistic in ("unfiltered", "predicted_target", "captured"):
        done, expected = (sum(count for name, count in each if name == statistic) for each in (passes, whole))
        assert done == expected > 0
    assert files.read_json(directory / "evaluation.json") == files.read_json(tmp_path / "whole" / "evaluation.json")


def test_a_lower_precision_judges_and_tells_how_far_it_agrees():
    """A bfloat16 form with the classes in another order agrees where both orders are alike."""
    classifier, maps, source = make_classifier(3), make_maps(3), Made((7, 4, 10))
    low = dataclasses.replace(classifier, apply_bfloat16=lambda *given: classifier.apply(*given)[:, ::-1])
    config = CONFIG.copy_and_resolve_references()
    config.search.precision = "bfloat16"
    found = evaluate.measure(config, low, maps, Dataset(source, 8), None)
    plain = predictions(classifier, source.images, np.ones((8, 8)))
    np.testing.assert_array_equal(found.unfiltered.confusion, confusion_matrix(source.labels, 2 - plain))
    filtered = np.stack([predictions(classifier, source.images, mask) for mask in maps.at(0.2)])
    agreement = found.methods["removal"].agreement
    assert agreement.images == filtered.size and agreement.share == pytest.approx((filtered == 1).mean())
    assert agreement.share_ci[0] < agreement.share < agreement.share_ci[1] and 0 < agreement.share < 1


def test_one_class_has_a_tpr_and_no_fpr(tmp_path):
    evaluate.run(CONFIG, tmp_path, make_classifier(1), make_maps(1), Dataset(Made((5,)), 8))
    found = files.read_json(tmp_path / "evaluation.json")
    assert found["unfiltered"]["fpr"] == [None] and found["unfiltered"]["tpr"] == [1.0]
    assert found["methods"]["removal"]["shares"]["0.2"]["fpr"] == [None]


@pytest.mark.parametrize("seed", range(5))
def test_recovery_is_scikit_learns_average_precision_over_orbits(seed):
    rng = np.random.default_rng(seed)
    orbits = spectrum.orbits(8, 8)
    scores, truth = rng.normal(size=orbits.max() + 1), rng.random(orbits.max() + 1) < 0.2
    found = evaluate.recovery(scores[orbits], truth[orbits])
    assert found.average_precision == pytest.approx(average_precision_score(truth, scores))
    best = np.argsort(-scores)[: truth.sum()]
    assert found.recall == found.precision == pytest.approx(truth[best].mean())
    assert found.planted_orbits == truth.sum() and found.found == truth[best].sum()


def test_reliance_is_what_the_planted_frequencies_do_alone_and_by_their_absence(tmp_path):
    """A classifier that reads the energy of one orbit uses it, whatever else a map says."""
    orbits = spectrum.orbits(8, 8)
    truth = orbits == orbits[4 + 2, 4 + 1]
    zeros = np.zeros((8, 8), bool)
    source = Made((20, 20), planted={"fixed": np.stack([truth, zeros]), "any": np.zeros((2, 8, 8), bool)})
    rows, columns = np.mgrid[:8, :8]
    grating = 100 * np.cos(2 * np.pi * (2 * rows + columns) / 8)[None, :, :, None]
    quiet = np.random.default_rng(0).integers(100, 150, source.images.shape)
    source.images = (quiet + grating * (source.labels == 0)[:, None, None, None]).clip(0, 255).astype(np.uint8)

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, jnp.asarray(truth[None]))[0]).mean((1, 2, 3))
        return jnp.stack([energy, jnp.full_like(energy, 0.3)], 1)

    classifier = Model(apply, {}, (8, 8, 3), source.classes, MEAN_STD)
    evaluate.run(CONFIG, tmp_path, classifier, make_maps(2), Dataset(source, 8))
    found = files.read_json(tmp_path / "evaluation.json")
    assert found["unfiltered"]["accuracy"] == 1.0
    assert found["planted"] == {"class 0": {"fixed": True, "tpr_without": 0.0, "tpr_alone": 1.0}}
