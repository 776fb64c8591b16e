"""The accelerator benchmark at toy size: what its rows say follows from what was measured."""

import pytest

from benchmarks.cost import accelerator
from benchmarks.cost.accelerator_parts.settings import METHODS, TOY, Settings
from fsjax.engine import tile_size
from fsjax.fourier import patches

CLASSES, DEVICES, ORBITS = 4, 4, (24**2 + 4) // 2
PEAKS = {"tensorfloat32": 2.0, "float32": 2.0, "highest": 4.0, "bfloat16": 8.0}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    directory = tmp_path_factory.mktemp("accelerator")
    settings = Settings(directory, sizes=TOY, precisions=("tensorfloat32",), peaks=(2.0, 4.0, 8.0))
    with pytest.MonkeyPatch.context() as patch:
        # Tiles of one size, which no probe has to be compiled for.
        patch.setattr(tile_size, "fit", lambda *_, **__: 30)
        yield accelerator.measure(list(accelerator.PARTS), settings)


def of_part(rows, part):
    return [row for row in rows if row["part"] == part]


@pytest.mark.slow
def test_a_search_costs_the_passes_that_its_masks_and_images_make(rows):
    searched = {row["method"]: row for row in of_part(rows, "search")}
    assert list(searched) == list(METHODS)
    removal = searched["removal"]
    assert removal["images"] == CLASSES * TOY.images
    masks = 1 + patches.count(24, 24, 4)  # nothing removed, and each patch
    assert removal["forward_equivalents"] == removal["images"] * masks
    assert searched["graft"]["forward_equivalents"] == CLASSES * 3 * 4 * 2
    measured = [row for row in rows if "tflops" in row]
    assert len(measured) > len(METHODS)
    for row in measured:
        share = row["tflops"] / DEVICES / PEAKS[row["precision"]]
        assert row["share_of_peak"] == pytest.approx(share, rel=1e-3) and share > 0
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
