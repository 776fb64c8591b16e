"""The accelerator benchmark at toy size: every part's rows."""

import dataclasses

import numpy as np
import pytest

from benchmarks.cost import accelerator
from benchmarks.cost.accelerator_parts.rows import Rows
from benchmarks.cost.accelerator_parts.settings import METHODS, TOY, Settings
from fsjax.engine import tile_size
from fsjax.fourier import patches
from fsjax.training import loop

CLASSES, DEVICES, ORBITS = 4, 4, (24**2 + 4) // 2
PEAKS = {"tensorfloat32": 2.0, "float32": 2.0, "highest": 4.0, "bfloat16": 8.0}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    directory = tmp_path_factory.mktemp("accelerator")
    return Settings(directory, sizes=TOY, precisions=("tensorfloat32",), peaks=(2.0, 4.0, 8.0))


@pytest.fixture(scope="module")
def rows(settings):
    with pytest.MonkeyPatch.context() as patch:
        # Tiles of one size, which no probe has to be compiled for.
        patch.setattr(tile_size, "fit", lambda *_, **__: 30)
        yield accelerator.measure(list(accelerator.PARTS), settings)


def of_part(rows, part, **fields):
    return [row for row in rows if row["part"] == part and fields.items() <= row.items()]


@pytest.mark.slow
def test_every_part_has_its_rows_with_finite_numbers(rows):
    assert [len(of_part(rows, part)) for part in accelerator.PARTS] == [1, len(METHODS), 3]
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, int | float)]
        assert len(numbers) > 5 and np.isfinite(numbers).all(), row
        assert row["devices"] == f"{DEVICES} x cpu" and row.get("peak_mib") is None, "CPUs report no memory"
        if "tflops" in row:
            share = row["tflops"] / DEVICES / PEAKS[row["precision"]]
            assert row["share_of_peak"] == pytest.approx(share, rel=1e-3) and share > 0
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
    expected = removal["compile_seconds"] + (1 + ORBITS) * 10_000 / removal["images_per_second"]
    assert removal["seconds_for_cifar10"] == pytest.approx(expected, rel=1e-3)
    assert removal["seconds_for_cifar10_are"] == "an estimate"
    assert removal["loss_difference_from_cpu"] < 1e-5


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
    monkeypatch.setattr(loop, "train", lambda *_: pytest.fail("trained again"))
    again = accelerator.measure(["precision"], settings)
    assert len(again) == len(rows) and again[-3:] == of_part(rows, "precision")


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
