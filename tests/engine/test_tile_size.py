"""The size of a tile: within a budget, whatever the model."""

import functools
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fsjax import models
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.engine.tile import ImageBatch, Perturbations, make_tile
from fsjax.runtime import parallel
from fsjax.search import removal
from tests.helpers.refused import refused
from tests.helpers.search_problem import make_problem, on_devices

IMAGE = (16, 16, 3)


@pytest.fixture(scope="module")
def model():
    network = models.build("resnet20", num_classes=10, image_size=16)
    return Model(network.apply, network.init(0), IMAGE)


def test_the_compiled_tile_stays_within_the_budget(model):
    resident = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)) + 300 * 16 * 9 * 3 * 8
    sizes = []
    for memory in (8, 16, 40):
        size = tile_size.fit(model, resident_images=300, memory_mib=memory)
        assert resident + tile_size.temporary_bytes(model, size) <= memory * tile_size.MIB * 1.02
        sizes.append(size)
    assert sizes[0] < sizes[1] < sizes[2]
    # A budget twice as large is used: 1.5 times the tile would not fit.
    assert resident + tile_size.temporary_bytes(model, sizes[1] * 3 // 2) > 16 * tile_size.MIB


def test_a_budget_of_less_than_one_image_is_refused_with_the_least_that_works(model):
    fit, message = functools.partial(tile_size.fit, model, resident_images=3000), r"expected (\d+) or more for a tile"
    least = int(re.search(message, refused(f"run.memory_mib: got 1; {message}", fit, memory_mib=1))[1])
    assert fit(memory_mib=least) >= 1
    refused(message, fit, memory_mib=least - 1)


def test_without_a_budget_a_tile_takes_half_of_what_an_accelerator_has_free(model, monkeypatch):
    on_cpu = tile_size.fit(model, resident_images=100)
    # The budget of a CPU is for its caches: two probes say enough, though larger programs share less memory.
    assert tile_size.temporary_bytes(model, on_cpu) <= tile_size.CPU_BUDGET * 1.5
    monkeypatch.setattr(parallel, "free_bytes", lambda: 2 * tile_size.CPU_BUDGET)
    assert on_cpu * 0.6 < tile_size.fit(model, resident_images=1) < on_cpu
    monkeypatch.setattr(parallel, "free_bytes", lambda: 2**40)
    assert tile_size.fit(model, resident_images=100) == tile_size.MOST_IMAGES


def test_a_size_is_reduced_until_it_compiles_within_the_memory(monkeypatch):
    """As on a TPU, whose probes lie in its caches, and which refuses to compile what exceeds its memory."""
    compiled = []

    def temporaries(images):
        compiled.append(images)
        if images > 900:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.")
        return 0 if images < 50 else images * tile_size.MIB // 4

    def most(temporaries):
        return tile_size.most_images(model, temporaries, memory_mib=0, on_cpu=lambda each: 7, name="a tile")

    model = Model(lambda *_: None, {}, IMAGE)
    assert most(temporaries) == 7
    monkeypatch.setattr(parallel, "free_bytes", lambda: 200 * tile_size.MIB)  # of which half is for tiles
    compiled.clear()
    assert most(temporaries) == 400
    assert compiled[:3] == [8, 16, tile_size.MOST_IMAGES] and compiled[-1] == 400 and len(compiled) < 8
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        most(broken)


def test_a_program_is_compiled_once_for_its_memory_whoever_asks(monkeypatch):
    model = Model(
        lambda params, images: images.reshape(len(images), -1) @ params, np.zeros((768, 2), np.float32), IMAGE
    )
    compiled, compile_it = [], jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *given: compiled.append(1) or compile_it(*given))
    sizes = [tile_size.temporary_bytes(model, images) for images in (3, 5, 3, 5)]
    assert sizes[0] < sizes[1] and sizes[:2] == sizes[2:] and len(compiled) == 2


def broken(images):
    if images > 16:
        raise jax.errors.JaxRuntimeError("INTERNAL: no fault of the size")
    return 0


def test_an_accelerator_that_reports_no_memory_has_no_cpus_tile(model, monkeypatch):
    silent = SimpleNamespace(platform="tpu", memory_stats=dict)
    assert parallel.free_bytes() is None
    monkeypatch.setattr(parallel, "local_devices", lambda: [silent])
    assert parallel.free_bytes() == parallel.UNREPORTED_BYTES
    assert parallel.peak_bytes() is None


def test_a_tile_needs_no_more_memory_however_it_is_cut(model):
    """The probe is of one mask; a tile of the same images under several masks is the same."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), (parallel.AXIS,))
    shape = jax.ShapeDtypeStruct
    lowered = make_tile(model, ("loss",), mesh).lower(
        model.params,
        Perturbations(shape((8, 16, 16), bool)),
        ImageBatch(shape((5, 16, 9, 3), np.complex64), shape((5,), np.int32), shape((5, 1), np.float32)),
    )
    found = lowered.compile().memory_analysis().temp_size_in_bytes
    assert found == pytest.approx(tile_size.temporary_bytes(model, 40), rel=0.05)


@pytest.mark.parametrize(
    ("counts", "tile_images", "expected"),
    [
        *(([100, 100], 256, 100), ([100, 50], 256, 50), ([300], 256, 100), ([7], 4, 1), ([97], 64, 49)),
        *(([100], 64, 50), ([100], 17, 5), ([100], 23, 20), ([100], 43, 20), ([100], 2048, 100)),
    ],
)
def test_image_batch_size_wastes_the_fewest_padded_images_and_then_little_of_a_tile(counts, tile_images, expected):
    assert tile_size.image_batch_size(counts, tile_images) == expected


@pytest.mark.parametrize("devices", range(1, 9))
@pytest.mark.parametrize(
    ("masks", "images", "processes", "least"),
    [(421, 50, 1, 0.95), (25_091, 50, 1, 0.95), (421, 50, 4, 0.95), (421, 100, 16, 0.93), (2000, 30, 3, 0.95)],
)
def test_masks_fill_the_tiles_of_any_number_of_accelerators(monkeypatch, devices, masks, images, processes, least):
    """Counted class by class as a search goes: each process has a part of the (class, mask) pairs."""
    answers = {"free_bytes": 2**30, "mesh": SimpleNamespace(size=devices), "process": (0, processes)}
    for name, answer in answers.items():
        monkeypatch.setattr(parallel, name, lambda answer=answer: answer)
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 2048)
    layout, places = tile_size.layout(Model(lambda *_: None, {}, IMAGE), [images] * 10, masks=masks), 0
    at_once = layout["tile_images"] // images * devices
    for process in range(processes):
        monkeypatch.setattr(parallel, "process", lambda process=process: (process, processes))
        of_classes = np.bincount(np.arange(10 * masks)[parallel.share(10 * masks)] // masks)
        places += sum(-(-of_class // at_once) * at_once for of_class in of_classes)
    assert (layout["chunk"] == images and 512 <= layout["tile_images"] <= 2048) or processes > 1
    assert 10 * masks >= least * places


@pytest.mark.parametrize("devices", [1, 4])
def test_a_search_on_cpus_pads_few_masks_and_the_same_tiles_on_any_number(monkeypatch, devices):
    sizes, place = [], Engine._place
    monkeypatch.setattr(Engine, "_place", lambda self, *given: sizes.append(given[1]) or place(self, *given))
    on_devices(monkeypatch, devices)
    removal.search(make_problem(plane=(16, 16)))
    assert set(sizes) == {17 * devices} and 0.95 * sum(sizes) <= 3 * 131


@pytest.mark.parametrize(("mib", "images"), [(0.125, 88), (0.5, 22), (0.9, 16), (1.5, 14), (5, 4), (30, 1)])
def test_a_cpus_tile_has_16_images_where_they_take_no_more_than_its_most(monkeypatch, mib, images):
    monkeypatch.setattr(tile_size, "temporary_bytes", lambda *given, **_: int(mib * tile_size.MIB * given[1]))
    assert tile_size.fit(Model(lambda *_: None, {}, IMAGE), resident_images=1) == images


def test_what_a_tile_takes_whatever_its_images_counts_once():
    """XLA copies kernels that are larger than an image, and the copies take more than a hundred images do."""
    kernels = [jax.ShapeDtypeStruct((3, 3, *channels), np.float32) for channels in [(768, 512), *[(512, 512)] * 3]]

    def apply(kernels, images):
        x = images.reshape(-1, 1, 1, 768)
        for kernel in kernels:
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x[:, 0, 0]

    model = Model(apply, kernels, IMAGE)

    def used(images):
        return tile_size.temporary_bytes(model, images)

    copies = used(1)
    assert copies > 20 * tile_size.MIB, "XLA does not copy weights any more: the test is of no use"
    on_cpu = tile_size.fit(model, resident_images=1)
    assert 0.8 * tile_size.CPU_BUDGET < used(on_cpu) - copies < 1.1 * tile_size.CPU_BUDGET
    resident = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(model.params))
    memory = -(-(resident + copies) // tile_size.MIB) + 2
    images = tile_size.fit(model, resident_images=1, memory_mib=memory)
    assert images > 20 and resident + used(images) <= memory * tile_size.MIB
