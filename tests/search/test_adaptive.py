"""The adaptive search against exact removal, at what cost, what it says of itself, and being stopped half-way."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax import search
from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.fourier import patches
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import gradient, removal
from fsjax.search.adaptive import adaptive, class_search, exact_sample, image_losses
from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.adaptive.successive_elimination import SuccessiveElimination
from tests.helpers.stopping import Stopped, stop_after

COUNTS = (180, 90)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 64)


def make_problem(tmp_path, *, size=8, apply=None, counts=COUNTS, save_seconds=0.0, seed=0, **options):
    rng = np.random.default_rng(0)
    row, column = np.indices((size, size)) - size // 2
    # Natural images: most of their energy is at low frequencies.
    fall = np.fft.ifftshift(1 / (1 + row**2 + column**2))[None, :, :, None]
    images = [
        np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, size, size, 3)), axes=(1, 2)) * fall * 6, axes=(1, 2)).real
        for count in counts
    ]
    params = {
        "hidden": rng.normal(size=(size * size * 3, 16)).astype(np.float32) / 8,
        "out": rng.normal(size=(16, 3)).astype(np.float32),
    }
    own = {"confidence": 3.0, "first_images": 16, "exact_sample": 8, "gradient": True}
    shared = {
        "method": "adaptive",
        "patch": 1,
        "shares": (0.1,),
        "precision": "highest",
        "transform": "fft",
        "agreement_masks": 30,
    }
    chosen = {name: options.pop(name) for name in list(options) if name in own}
    return search.Problem(
        model=Model(apply or network, params, (size, size, 3)),
        images=lambda label: images[label].astype(np.float32),
        counts=counts,
        classes=("a", "b", "c")[: len(counts)],
        options=ConfigDict(shared | options | {"adaptive": own | chosen}),
        run=ConfigDict({"memory_mib": 0, "save_seconds": save_seconds}),
        searched_on="train",
        provenance={},
        seed=seed,
        directory=tmp_path / "search",
    )


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def staircase(params, images):
    """The network with its hidden units rounded: no gradient anywhere."""
    return jnp.round(4 * jnp.tanh(images.reshape(len(images), -1) @ params["hidden"])) / 4 @ params["out"]


def exact_scores(tmp_path, **options):
    return removal.search(make_problem(tmp_path / "removal", **options))


def reports(maps):
    return maps.provenance["adaptive"]["classes"]


@pytest.mark.parametrize("options", [{"gradient": False}, {"size": 6, "patch": 3}])
def test_with_bounds_that_decide_nothing_it_is_exact_removal(tmp_path, options):
    maps = adaptive.search(make_problem(tmp_path, confidence=1e6, **options))
    expected = exact_scores(tmp_path, **options)
    np.testing.assert_allclose(maps.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(
        maps.provenance["loss_before_removal"], expected.provenance["loss_before_removal"], atol=1e-6
    )
    extra = 3 * sum(COUNTS) if options.get("gradient", True) else 0
    assert maps.forward_equivalents == expected.forward_equivalents + extra
    np.testing.assert_array_equal(maps.masks, expected.masks)
    assert [report["share_of_exact"] > 0.99 for report in reports(maps)] == [True, True]


@pytest.mark.parametrize("options", [{"patch": 2, "size": 16}, {"shares": (0.05, 0.3)}])
def test_the_best_shares_are_those_of_exact_removal_at_a_part_of_its_cost(tmp_path, options):
    options = {"size": 12, "counts": (400, 200)} | options
    maps = adaptive.search(make_problem(tmp_path, **options))
    expected = exact_scores(tmp_path, **options)
    np.testing.assert_array_equal(maps.masks, expected.masks)
    assert maps.forward_equivalents < 0.8 * expected.forward_equivalents
    count = patches.count(options["size"], options["size"], options.get("patch", 1))
    for label, report in enumerate(reports(maps)):
        blocks = (tmp_path / "search" / f"class{label:05d}").glob("block*.npz")
        known = {int(mask) for file in blocks for mask in files.read_npz(file)["items"]}
        assert report["never_evaluated"] == 1 + count - len(known)
    assert maps.forward_equivalents == sum(report["forward_passes"] for report in reports(maps))
    kept = sum(files.read_npz(file)["values"].size for file in (tmp_path / "search").rglob("block*.npz"))
    assert maps.forward_equivalents == kept + 3 * 600, "every pass is kept, and counted once"


def test_the_gradient_makes_it_cheaper_where_it_predicts_and_is_left_out_where_it_does_not(tmp_path):
    options = {"counts": (300,), "confidence": 2.5, "seed": 1}
    with_it = adaptive.search(make_problem(tmp_path / "with", **options))
    without = adaptive.search(make_problem(tmp_path / "without", gradient=False, **options))
    assert with_it.forward_equivalents < 0.8 * without.forward_equivalents
    assert reports(with_it)[0]["variate_used"] > 0.9 and reports(with_it)[0]["gradient"]["spearman"] > 0.9
    assert reports(without)[0]["variate_used"] == 0 and "gradient" not in reports(without)[0]
    useless = adaptive.search(make_problem(tmp_path / "useless", apply=staircase, **options))
    assert reports(useless)[0]["variate_used"] == 0 and reports(useless)[0]["gradient"]["correlation"] is None
    np.testing.assert_array_equal(useless.masks, exact_scores(tmp_path, apply=staircase, **options).masks)


@pytest.mark.parametrize("asked, first", [(64, [60, 16]), (8, [8, 8])])
def test_a_patch_begins_with_a_third_of_a_class_or_with_what_is_asked_for(tmp_path, asked, first):
    adaptive.search(make_problem(tmp_path, counts=(180, 30), first_images=asked))
    for label, expected in enumerate(first):
        blocks = (tmp_path / "search" / f"class{label:05d}").glob("block00-*.npz")
        assert {files.read_npz(block)["values"].shape[0] for block in blocks} == {expected}


@pytest.mark.parametrize("asked, begun", [(64, 32), (16, 16)])
def test_where_every_patch_begins_it_does_so_with_32_images_or_what_is_asked_for(tmp_path, monkeypatch, asked, begun):
    found, run = [], SuccessiveElimination.run

    def noted(elimination):
        found.append(set(np.array(elimination._losses.sample_sizes)[elimination.step]))
        run(elimination)

    monkeypatch.setattr(SuccessiveElimination, "run", noted)
    adaptive.search(make_problem(tmp_path, counts=(48,), first_images=asked, apply=staircase))
    assert found[0] == {begun}


# What it says of itself


def test_a_class_whose_estimates_the_sample_contradicts_is_evaluated_exactly(tmp_path):
    maps = adaptive.search(make_problem(tmp_path, confidence=0.02))
    expected = exact_scores(tmp_path)
    for report in reports(maps):
        agreed = report["agreement"]
        assert agreed["within_bounds"] < 0.5 * agreed["estimated"] and report["went_exact"]
        assert report["evaluated_exactly"] == 34
    np.testing.assert_allclose(maps.scores, expected.scores, atol=1e-6)
    np.testing.assert_array_equal(maps.masks, expected.masks)


def test_a_patch_on_the_wrong_side_sends_its_class_to_exact_removal(tmp_path, monkeypatch):
    """Estimates that are right, but for the best orbit of all in the sample, which comes out worst."""
    expected = exact_scores(tmp_path)
    rows, columns = patches.orbit_positions(8, 8).T
    best = int(np.argmax(expected.scores[0][rows, columns]))
    honest = SuccessiveElimination._estimate

    def estimate(self, patches, block):
        honest(self, patches, block)
        wrong = patches[(patches == best) & ~self.exact[patches]]
        self.mean[wrong] = self.mean.min() - 10

    monkeypatch.setattr(SuccessiveElimination, "_estimate", estimate)
    sampled = adaptive.search(make_problem(tmp_path / "sampled", exact_sample=34))
    assert reports(sampled)[0]["agreement"]["wrong_side"] >= 1 and reports(sampled)[0]["went_exact"]
    np.testing.assert_array_equal(sampled.masks[:, 0], expected.masks[:, 0])


def test_a_patch_that_the_gradient_does_not_see_sends_its_class_to_exact_removal(tmp_path, monkeypatch):
    """First-order scores that say nothing of the best orbit: it does not begin, but the sample holds it."""
    options = {"size": 12, "shares": (0.05,)}
    expected = exact_scores(tmp_path, **options)
    rows, columns = patches.orbit_positions(12, 12).T
    best = int(np.argmax(expected.scores[0][rows, columns]))
    honest = class_search.first_order_scores

    def blind(*arguments):
        predicted = honest(*arguments)
        predicted[:, best] = 0
        return predicted

    monkeypatch.setattr(class_search, "first_order_scores", blind)
    sampled = adaptive.search(make_problem(tmp_path / "sampled", exact_sample=74, **options))
    assert reports(sampled)[0]["agreement"]["wrong_side"] >= 1 and reports(sampled)[0]["went_exact"]
    assert reports(sampled)[0]["never_evaluated"] == 0
    np.testing.assert_array_equal(sampled.masks[:, 0], expected.masks[:, 0])


def test_the_sample_is_compared_with_what_the_elimination_had_estimated(tmp_path, monkeypatch):
    before = {}
    compare = exact_sample.compare

    def watched(elimination, *arguments):
        before[len(before)] = (
            elimination.mean.copy(),
            elimination.standard_error.copy(),
            elimination.exact.copy(),
            elimination.bounds(),
        )
        return compare(elimination, *arguments)

    monkeypatch.setattr(exact_sample, "compare", watched)
    maps = adaptive.search(make_problem(tmp_path, exact_sample=20, confidence=1.0))
    expected = exact_scores(tmp_path)
    rows, columns = patches.orbit_positions(8, 8).T
    sample = np.sort(generator(0, Stream.ADAPTIVE_EXACT_SAMPLE).choice(34, 20, replace=False))
    for label, report in enumerate(reports(maps)):
        mean, deviation, exact, (lower, upper) = before[label]
        truth, agreed = expected.scores[label][rows, columns], report["agreement"]
        np.testing.assert_allclose(mean[exact], truth[exact], atol=1e-6)
        drawn = sample[~exact[sample]]
        errors = (truth - mean)[drawn] / deviation[drawn]
        assert agreed["estimated"] == len(drawn) > 5
        assert agreed["error_scale"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
        assert agreed["within_bounds"] == np.sum((lower <= truth)[drawn] & (truth <= upper)[drawn])
        ranking = Ranking.of_plane((8, 8), 1, (0.1,))
        scaled = deviation * max(1, agreed["error_scale"])
        assert agreed["iou"] == pytest.approx(exact_sample.expected_iou(ranking, mean, scaled))
        assert agreed["iou"] != [1.0]
        ranks = [np.argsort(np.argsort(values[sample])) for values in (mean, truth)]
        assert agreed["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
    assert maps.provenance["adaptive"]["sampled"] == 20
    json.dumps(maps.provenance, allow_nan=False)


def test_the_expected_agreement_is_that_of_maps_with_such_errors():
    rng = np.random.default_rng(0)
    ranking = Ranking.of_plane((16, 16), 1, (0.1, 0.3))
    mean, deviation = rng.normal(size=130), np.full(130, 0.05)
    kept, found = ranking.selected(mean), []
    for _ in range(400):
        other = ranking.selected(mean + deviation * rng.normal(size=130))
        found.append((kept & other).sum(1) / (kept | other).sum(1))
    np.testing.assert_allclose(exact_sample.expected_iou(ranking, mean, deviation), np.mean(found, 0), atol=0.05)
    assert exact_sample.expected_iou(ranking, mean, 0 * deviation) == [1.0, 1.0]
    assert np.mean(found) < 0.97
    # Exact orbits can lose their places to others; then no fewer swaps are expected than there are.
    inside = kept[0]
    others = [ranking.selected(mean + ~inside * deviation * rng.normal(size=130))[0] for _ in range(400)]
    actual = np.mean([(inside & other).sum() / (inside | other).sum() for other in others])
    assert actual - 0.1 < exact_sample.expected_iou(ranking, mean, ~inside * deviation)[0] < actual < 0.99


def test_patches_that_change_nothing_contradict_nothing(tmp_path):
    """A classifier of the mean: rounding is all that removing any other frequency changes."""

    def blind(params, images):
        return jnp.stack([10 * jnp.tanh(images.mean((1, 2, 3))), jnp.zeros(len(images)), -jnp.ones(len(images))], 1)

    maps = adaptive.search(make_problem(tmp_path, apply=blind, exact_sample=20, shares=(0.02,)))
    assert not any(report["went_exact"] for report in reports(maps))
    json.dumps(maps.provenance, allow_nan=False)
    rest = np.delete(maps.scores.reshape(2, -1), 4 * 8 + 4, axis=1)
    assert np.abs(rest).max() < 1e-5 < np.abs(maps.scores[:, 4, 4]).min()


# Devices and restarts


def test_scores_do_not_depend_on_the_number_of_devices(tmp_path, monkeypatch):
    found = []
    for devices in (1, 4):
        monkeypatch.setattr(parallel, "local_devices", lambda devices=devices: jax.local_devices()[:devices])
        found.append(adaptive.search(make_problem(tmp_path / str(devices), counts=(60, 40))))
    one, four = found
    np.testing.assert_array_equal(four.scores, one.scores)
    assert four.provenance == one.provenance


@pytest.mark.parametrize("save_seconds", [0.0, 1000.0])
def test_a_search_stopped_anywhere_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch, save_seconds):
    options = {"counts": (60, 40), "save_seconds": save_seconds}
    seen = stop_after(monkeypatch, np.inf, image_losses.Evaluator)
    expected = adaptive.search(make_problem(tmp_path / "whole", **options))
    monkeypatch.undo()
    whole, total, stops = sum(passes for _, passes in seen), 0, 0
    for counts in (1, 6, 4, np.inf):
        # A restart that would choose other tiles, and has other devices: the arithmetic stays that of the first start.
        monkeypatch.setattr(tile_size, "fit", lambda *_, stops=stops, **__: 64 // (1 + stops))
        monkeypatch.setattr(gradient, "batch_size", lambda problem, stops=stops, **_: 40 // (1 + stops))
        monkeypatch.setattr(parallel, "local_devices", lambda stops=stops: jax.local_devices()[: 1 + stops % 3])
        seen = stop_after(monkeypatch, counts, image_losses.Evaluator)
        try:
            found = adaptive.search(make_problem(tmp_path / "stopped", **options))
        except Stopped:
            stops += 1
        total += sum(passes for _, passes in seen)
        monkeypatch.undo()
    assert stops == 3
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.provenance == expected.provenance
    assert total == whole, "nothing is computed twice"


def test_a_finished_class_is_read_and_a_damaged_file_is_computed_again(tmp_path, monkeypatch):
    options = {"counts": (60, 40), "confidence": 8.0}
    expected = adaptive.search(make_problem(tmp_path, **options))
    (tmp_path / "search" / "class00001" / "found.json").write_text("{")
    files = sorted((tmp_path / "search" / "class00001").glob("*.npz"))
    assert not any(file.name.startswith("first") for file in files), "they take much room and are of no use any more"
    files[0].write_bytes(files[0].read_bytes()[:-20])
    files[1].write_bytes(b"")
    seen = stop_after(monkeypatch, np.inf, image_losses.Evaluator)
    found = adaptive.search(make_problem(tmp_path, **options))
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert 3 * 40 < sum(passes for _, passes in seen) < 0.5 * expected.forward_equivalents
    # Other shares need other losses, beside those that are kept.
    monkeypatch.undo()
    options["shares"] = (0.1, 0.3)
    found = adaptive.search(make_problem(tmp_path, **options))
    np.testing.assert_array_equal(found.masks, exact_scores(tmp_path, **options).masks)
    assert [len(report["agreement"]["iou"]) for report in reports(found)] == [2, 2]


def test_partial_results_of_another_model_are_refused(tmp_path):
    problem = make_problem(tmp_path, counts=(20,))
    adaptive.search(problem)
    other = jax.tree.map(lambda leaf: leaf * 2, problem.model.params)
    with pytest.raises(InputError, match="partial results of another model"):
        adaptive.search(dataclasses.replace(problem, model=dataclasses.replace(problem.model, params=other)))


def test_rates_are_written_as_numbers(tmp_path):
    with Metrics(tmp_path) as metrics:
        adaptive.search(dataclasses.replace(make_problem(tmp_path, counts=(60, 40)), metrics=metrics))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) > 5 and all(line["images_per_second"] > 0 for line in lines)


def test_a_lower_precision_reports_its_agreement_on_the_sample(tmp_path):
    maps = adaptive.search(make_problem(tmp_path, counts=(60, 40), precision="tensorfloat32", exact_sample=6))
    agreed = maps.provenance["agreement"]
    assert agreed["masks"] == 7 and agreed["spearman"] == [1.0, 1.0]  # a CPU has no TF32
    passes = [report["forward_passes"] for report in reports(maps)]
    assert maps.forward_equivalents == sum(passes) + 100 * 7


@pytest.mark.parametrize("name, value", [("confidence", 0.0), ("first_images", 7), ("exact_sample", 1)])
def test_a_field_that_cannot_be_used_is_named(name, value):
    options = search.options()
    options.method = "adaptive"
    options.adaptive[name] = value
    with pytest.raises(InputError, match=rf"search.adaptive.{name}: got {value}; expected "):
        search.check(options, (16, 16))
