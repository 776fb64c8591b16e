"""The accelerator benchmark at toy size: every part's rows, and the aims they tell of."""

import dataclasses

import numpy as np
import pytest

from benchmarks.cost import accelerator
from benchmarks.cost.accelerator_parts import comparisons, train
from benchmarks.cost.accelerator_parts.rows import Rows, aim_lines
from benchmarks.cost.accelerator_parts.settings import METHODS, TOY, Settings
from fsjax.engine import tile_size
from fsjax.fourier import patches
from fsjax.search import sweep
from fsjax.training import loop

CLASSES, DEVICES, ORBITS = 4, 4, (24**2 + 4) // 2
PEAKS = {"tensorfloat32": 2.0, "float32": 2.0, "highest": 4.0, "bfloat16": 8.0}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    sizes = dataclasses.replace(TOY, large_models="vit_nano_patch8")
    directory = tmp_path_factory.mktemp("accelerator")
    return Settings(directory, sizes=sizes, precisions=("tensorfloat32",), peaks=(2.0, 4.0, 8.0))


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Tiles of one size, which no probe has to be compiled for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tile_size, "fit", lambda *_, **__: 30)
        yield


@pytest.fixture(scope="module")
def rows(settings):
    return accelerator.measure(list(accelerator.PARTS), settings)[0]


def of_part(rows, part, **fields):
    return [row for row in rows if row["part"] == part and fields.items() <= row.items()]


@pytest.mark.slow
def test_every_part_has_its_rows_with_finite_numbers(rows):
    assert [len(of_part(rows, part)) for part in accelerator.PARTS] == [1, len(METHODS), 3, 2, 1]
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, int | float)]
        assert len(numbers) > 5 and np.isfinite(numbers).all(), row
        assert row["devices"] == f"{DEVICES} x cpu" and row.get("peak_mib") is None, "CPUs report no memory"
        if "tflops" in row:
            share = row["tflops"] / DEVICES / PEAKS[row["precision"]]
            assert row["share_of_peak"] == pytest.approx(share, rel=1e-3) and share > 0
        if "ratio" in row:
            low, high = row["interval"]
            assert 0 < low <= row["ratio"] <= high
    (training,) = of_part(rows, "train")
    assert 0 < training["compile_seconds"] < training["seconds"] and 0 <= training["accuracy"] <= 1
    assert training["images"] == TOY.steps * TOY.batch_size


@pytest.mark.slow
def test_a_search_costs_the_passes_that_its_masks_and_images_make(rows):
    searched = {row["method"]: row for row in of_part(rows, "search")}
    assert list(searched) == list(METHODS)
    removal = searched["removal"]
    assert removal["images"] == CLASSES * TOY.images
    masks = 1 + patches.count(24, 24, 4) + 3  # nothing removed, each patch, and three again in 'highest'
    assert removal["forward_equivalents"] == removal["images"] * masks
    assert searched["graft"]["forward_equivalents"] == CLASSES * 3 * 4 * 2
    for row in searched.values():
        assert 0 < row["compile_seconds"] < row["seconds"]
        rate = row["forward_equivalents"] / (row["seconds"] - row["compile_seconds"])
        assert row["images_per_second"] == pytest.approx(rate, rel=0.01)


@pytest.mark.slow
def test_removal_is_held_against_plain_passes_and_the_cpu_and_scaled_to_cifar10_as_an_estimate(rows):
    (row,) = of_part(rows, "search", method="removal")
    assert row["tile_ratio"] > 0 and row["tiles"] >= 1
    whole = row["images_per_second"] / row["forward_images_per_second"]
    assert row["whole_ratio"] == pytest.approx(whole, rel=1e-3)
    expected = row["compile_seconds"] + (1 + ORBITS) * 10_000 / row["images_per_second"]
    assert row["seconds_for_cifar10"] == pytest.approx(expected, rel=1e-3)
    assert row["seconds_for_cifar10_are"] == "an estimate"
    assert row["loss_difference_from_cpu"] < 1e-5


@pytest.mark.slow
def test_precisions_agree_with_highest_as_far_as_they_differ(rows):
    highest, tf32, bfloat16 = of_part(rows, "precision")
    # On a CPU TF32 is float32.
    assert min(highest["worst_spearman"], tf32["worst_spearman"]) > 0.9
    assert max(highest["loss_difference_from_cpu"], tf32["loss_difference_from_cpu"]) < 1e-5
    assert 1e-5 < bfloat16["loss_difference_from_cpu"] < 0.1
    for row in (highest, tf32, bfloat16):
        assert -1 <= row["worst_spearman"] <= row["spearman"] <= 1 and 0 <= row["worst_top_iou"] <= row["top_iou"] <= 1


@pytest.mark.slow
def test_a_part_given_alone_finds_the_trained_model_and_replaces_its_own_rows(rows, settings, monkeypatch):
    def trained_again(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "train", trained_again)
    again, _ = accelerator.measure(["precision"], settings)
    assert len(again) == len(rows) and again[-3:] == of_part(rows, "precision")


@pytest.mark.slow
def test_a_round_searches_two_classes_anew_under_all_masks(rows, settings, monkeypatch):
    counted = []

    class Counted(sweep.Throughput):
        def count(self, masks, images, name):
            counted.append((name, masks))
            super().count(masks, images, name)

    monkeypatch.setattr(sweep, "Throughput", Counted)
    trained = train.load_or_train(settings)
    run = comparisons.search_side(trained.problem("removal", "highest", 4, settings, settings.directory / "anew"), 3)
    masks = 1 + patches.count(24, 24, 4)
    for repeats in (1, 2):
        assert run() == 2 * 3 * masks
        for name in trained.classifier.classes[:2]:
            assert sum(of_tile for of_class, of_tile in counted if of_class == name) == repeats * masks
    assert {name for name, _ in counted} == set(trained.classifier.classes[:2])


def test_by_default_all_are_searched_in_tf32_and_removal_in_highest_too(tmp_path):
    default = Settings(tmp_path)
    assert default.searches() == [*((method, "tensorfloat32") for method in METHODS), ("removal", "highest")]
    assert default.image_count("removal", "tensorfloat32") == 1000 > default.image_count("removal", "highest")
    both = dataclasses.replace(default, methods=("graft",), precisions=("highest", "bfloat16"))
    assert both.searches() == [("graft", "highest"), ("graft", "bfloat16")]


def test_rows_of_other_devices_are_kept_and_not_listed(tmp_path):
    for devices, seconds in (("1 x A", 1.0), ("1 x B", 2.0), ("1 x A", 3.123456)):
        Rows(tmp_path, devices).add("search", {"method": "graft", "seconds": seconds})
    assert [row["seconds"] for row in Rows(tmp_path, "1 x A").listed()] == [3.1235]
    assert [row["seconds"] for row in Rows(tmp_path, "1 x B").listed()] == [2.0]


def test_an_aim_is_met_or_missed_by_its_worst_row_and_not_by_toy_models():
    row = {"part": "search", "model": "resnet18_cifar", "image_size": 32, "classes": 10, "method": "removal"}
    estimate = {"seconds_for_cifar10": 140.0, "seconds_for_cifar10_are": "an estimate"}
    measured = {"seconds_for_cifar10": 61.0, "seconds_for_cifar10_are": "measured"}
    rows = [
        {**row, "precision": "highest", **estimate, "ratio": 0.91, "tile_ratio": 0.97},
        {**row, "precision": "tensorfloat32", **measured, "ratio": 0.89, "tile_ratio": 0.96},
        {**row, "method": "graft", "precision": "tensorfloat32", "seconds": 19.0},
        {**row, "method": "graft", "precision": "highest", "seconds": 21.0},
        {**row, "method": "learned", "precision": "tensorfloat32", "seconds": 1.0, "model": "resnet8"},
        {"part": "train", "model": "resnet18_cifar", "images_from": "synthetic", "accuracy": 0.99, "ratio": 0.96},
    ]
    outcomes = [line.rpartition(": ")[2] for line in aim_lines(rows)]
    assert outcomes == [
        *("not measured", "met, 0.96", "missed, 61", "met, 140 (an estimate)", "missed, 0.89", "met, 0.91"),
        *("met, 0.96", "not measured", "not measured", "missed, 21"),
    ]
    assert np.all([line.endswith("not measured") for line in aim_lines([])])
