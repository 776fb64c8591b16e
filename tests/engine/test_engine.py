"""The engine against loops in NumPy float64, on any number of devices."""

import dataclasses
import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from fsjax.engine import programs
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model, WaveModel, graft_model
from fsjax.engine.tile import STATISTICS, Perturbations, make_tile
from fsjax.models.callables import convert_closure
from fsjax.runtime import parallel
from tests.helpers.engine_oracle import apply, network_params, oracle_sums
from tests.helpers.plane import real, spectra


def problem(height=9, width=6, images=11, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    params = network_params(rng, (height, width, 3), classes)
    batch = rng.normal(size=(images, height, width, 3)).astype(np.float32)
    labels = rng.integers(0, classes, images).astype(np.int32)
    return params, batch, labels, rng


def oracle(params, batch, labels, weights, masks, targets=None):
    targets = np.zeros(len(masks), int) if targets is None else targets
    return oracle_sums(params, lambda m, i: real(spectra(batch[i]) * masks[m][..., None]), labels, weights, targets)


def test_models_that_differ_only_in_their_parameters_share_a_tile_and_no_others_do():
    params, batch, *_ = problem()
    model, mesh = Model(apply, params, batch.shape[1:]), parallel.mesh()
    tile = make_tile(model, ["loss"], mesh)
    assert make_tile(dataclasses.replace(model, params={}), ("loss",), mesh) is tile
    changes = {"matmul_precision": "default"}, {"transform": "dft"}, {"image_shape": (6, 9, 3)}, {"apply": lambda *_: 0}
    others = [make_tile(dataclasses.replace(model, **change), ("loss",), mesh) for change in changes]
    others += [make_tile(graft_model(model), ("loss",), mesh), make_tile(model, ("correct",), mesh)]
    others += [make_tile(model, ("loss",), Mesh(np.array(jax.local_devices()[1:2]), (parallel.AXIS,)))]
    assert len({tile, *others}) == 1 + len(others)


def test_methods_of_two_objects_and_other_callables_keep_no_programs():
    class Network:
        def apply(self, images):
            return images

    def make():
        return lambda: 0

    one, other = Network(), Network()
    callables = [one.apply, other.apply, functools.partial(apply, {}), functools.partial(apply, {}), make(), make()]
    assert len({programs.cached_program(function, key, make) for function in callables for key in "ab"}) == 12
    assert programs.cached_program(callables[-1], "a", make) is programs.cached_program(callables[-1], "a", make)


def test_cached_programs_go_with_the_model_that_they_belong_to():
    class Callers:
        def __init__(self, params):
            self.params = {name: jnp.asarray(array) for name, array in params.items()}

        def __call__(self, images):
            return apply(self.params, images)

    def use(model, batch, labels):
        function, arrays = convert_closure(model, batch.shape[1:])
        for _ in range(2):
            made = Engine(Model(function, arrays, batch.shape[1:]))
            made.sums(made.image_batches(batch, labels), np.ones((2, *batch.shape[1:3]), bool))
        assert len(vars(function)[programs._ATTRIBUTE]) == 2, "the tile and the encoder"

    params, batch, labels, _ = problem()
    model = Callers(params)
    gone = weakref.ref(model)
    use(model, batch, labels)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(("size", "tile_images"), [(None, 256), (4, 8), (11, 1000), (1, 3)])
def test_sums_are_those_of_a_loop_over_masks_and_images(size, tile_images):
    params, batch, labels, rng = problem()
    masks = rng.random((13, 9, 6)) < 0.5
    targets, weights = rng.integers(0, 4, 13), rng.random((11, 3)).astype(np.float32)
    made = Engine(Model(apply, params, batch.shape[1:]), statistics=STATISTICS, tile_images=tile_images)
    counted = []
    batches = made.image_batches(batch, labels, weights, size=size)
    found = made.sums(batches, masks, targets=targets, on_tile=counted.append)
    assert_sums(found, oracle(params, batch, labels, weights, masks, targets=targets))
    assert sum(counted) == 13


@pytest.mark.parametrize("own", [True, False], ids=["each image", "all images"])
@pytest.mark.parametrize("plane", [(8, 6), (7, 9)])
def test_a_wave_is_that_of_the_definition_in_each_image_and_channel(own, plane):
    params, batch, labels, rng = problem(*plane)
    positions = np.stack([rng.integers(0, side, 5) for side in plane], -1)
    shape = (5, 11, 1) if own else (5, 1, 3)
    coefficients = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    weights = rng.random((11, 2)).astype(np.float32)
    y, x = np.mgrid[: plane[0], : plane[1]]

    def disturbed(m, i):
        vertical, horizontal = positions[m] - np.array(plane) // 2
        angle = 2 * np.pi * (vertical * y / plane[0] + horizontal * x / plane[1])
        amplitude, phase = abs(coefficients[m, i * own]), np.angle(coefficients[m, i * own])
        return batch[i].astype(float) + amplitude * np.cos(angle[..., None] + phase)

    made = Engine(WaveModel(apply, params, batch.shape[1:]), statistics=STATISTICS, tile_images=22)
    batches = made.image_batches(batch, labels, weights, size=11 if own else 4)
    waves = LazyArray(5, lambda start, stop: (positions[start:stop].astype(np.int32), coefficients[start:stop]))
    expected = oracle_sums(params, disturbed, labels, weights, np.zeros(5, int))
    assert_sums(made.sums(batches, waves), expected)
    (items, some), *_ = made.tiles(batches, waves, items=np.array([0, 3, 4]))
    assert_sums(some, {name: sums[items] for name, sums in expected.items()})


@pytest.mark.parametrize("plane", [(8, 16), (7, 9)])
def test_masks_at_a_bit_a_position_are_unpacked_on_the_devices(plane):
    params, batch, labels, rng = problem(*plane)
    masks, weights = rng.random((5, *plane)) < 0.5, rng.random((11, 2)).astype(np.float32)
    made = Engine(Model(apply, params, batch.shape[1:]), statistics=STATISTICS, tile_images=8)
    batches = made.image_batches(batch, labels, weights, size=4)
    found = made.sums(batches, np.packbits(masks, axis=-1))
    assert_sums(found, oracle(params, batch, labels, weights, masks))
    for name, values in made.sums(batches, masks).items():
        np.testing.assert_array_equal(found[name], values)


def assert_sums(found, expected):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=3e-6, atol=3e-6, err_msg=name)


def test_a_model_that_fails_on_empty_images_spoils_no_sum():
    """Padding has weight 0, but 0 x NaN is NaN."""
    _, batch, labels, _ = problem(height=8, width=8, images=5)

    def normalising(params, images):
        flat = images.reshape(len(images), -1)
        return flat[:, :4] / jnp.linalg.norm(flat, axis=1, keepdims=True)

    made = Engine(Model(normalising, {}, (8, 8, 3)), tile_images=8)
    assert np.isfinite(made.sums(made.image_batches(batch, labels, size=4), np.ones((3, 8, 8), bool))["loss"]).all()


def forms(batch, params):
    """Yield a model and its images for masks, and for grafts between images."""
    model = Model(apply, params, batch.shape[1:])
    return (model, batch), (graft_model(model), np.stack([batch, batch[::-1]], axis=1))


@pytest.mark.parametrize("form", [0, 1], ids=["masks", "grafts"])
def test_results_are_bit_equal_on_any_number_of_devices(monkeypatch, form):
    params, batch, labels, rng = problem(height=8, width=8, images=10)
    (model, images), masks = forms(batch, params)[form], rng.random((21, 8, 8)) < 0.7
    results = []
    for count in (1, 2, 4):
        monkeypatch.setattr(parallel, "local_devices", lambda count=count: jax.local_devices()[:count])
        made = Engine(model, statistics=("loss", "captured"), tile_images=10)
        results.append(made.sums(made.image_batches(images, labels, size=5), masks))
    assert made.perturbations_per_tile(5) == 8
    for other in results[1:]:
        for name in ("loss", "captured"):
            np.testing.assert_array_equal(other[name], results[0][name])


@pytest.mark.parametrize("form", [0, 1], ids=["masks", "grafts"])
def test_nothing_passes_between_devices_in_a_tile(form):
    params, batch, labels, _ = problem(height=8, width=8)
    model, images = forms(batch, params)[form]
    made = Engine(model, statistics=("loss", "captured"))
    masks = made._place(Perturbations(np.ones((16, 8, 8), bool)), 16)
    text = made._tile.lower(made._params, masks, made.image_batches(images, labels)[0]).compile().as_text()
    collectives = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
    assert "fft" in text and not [name for name in collectives if name in text]


def test_one_compilation_serves_any_number_of_masks():
    params, batch, labels, _ = problem()
    made = Engine(Model(apply, params, (9, 6, 3)), tile_images=16)
    for count in (1, 7, 40):
        made.sums(made.image_batches(batch, labels, size=8), np.ones((count, 9, 6), bool))
    assert made._tile._cache_size() == 1


def test_some_lazy_masks_are_made_tile_by_tile_and_summed_as_those_of_an_array(monkeypatch):
    monkeypatch.setattr(parallel, "local_devices", lambda: jax.local_devices()[:2])
    params, batch, labels, rng = problem()
    masks = rng.random((40, 9, 6)) < 0.7
    engine = Engine(Model(apply, params, (9, 6, 3)), tile_images=44)
    batches, asked = engine.image_batches(batch, labels), []

    def make(start, stop):
        asked.append((start, stop))
        return masks[start:stop]

    found = list(engine.tiles(batches, LazyArray(40, make), items=np.arange(5, 29)))
    assert [(items[0], items[-1] + 1) for items, _ in found] == asked
    assert asked[0][0] == 5 and asked[-1][1] == 29 and len(asked) == 3
    every = engine.sums(batches, masks)["loss"]
    np.testing.assert_array_equal(np.concatenate([sums["loss"] for _, sums in found]), every[5:29])
    scattered = np.array([1, 2, 8, 4, 5, 39])
    found = list(engine.tiles(batches, LazyArray(40, make), items=scattered))
    np.testing.assert_array_equal(np.concatenate([items for items, _ in found]), scattered)
    np.testing.assert_array_equal(np.concatenate([sums["loss"] for _, sums in found]), every[scattered])
    np.testing.assert_array_equal(LazyArray(40, make)[np.array([7, 3, 39])][1:3], masks[[3, 39]])
