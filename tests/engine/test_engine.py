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
from tests.helpers.plane import real, spectra


def problem(height=9, width=6, images=11, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    hidden, out = rng.normal(size=(height * width * 3, 8)) / 8, rng.normal(size=(8, classes))
    params = {"hidden": hidden.astype(np.float32), "out": out.astype(np.float32)}
    batch = rng.normal(size=(images, height, width, 3)).astype(np.float32)
    labels = rng.integers(0, classes, images).astype(np.int32)
    return params, batch, labels, rng


def apply(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def oracle_sums(params, filtered, labels, weights, targets):
    """Every (perturbation, image) pair by itself; filtered(m, i) is image i under perturbation m."""
    classes = params["out"].shape[1]
    sums = {name: np.zeros((len(targets), weights.shape[1])) for name in STATISTICS}
    sums["predicted"] = np.zeros((len(targets), weights.shape[1], classes))
    for m, target in enumerate(targets):
        for i, (label, weight) in enumerate(zip(labels, weights, strict=True)):
            hidden = np.tanh(filtered(m, i).ravel() @ params["hidden"].astype(float))
            logits = hidden @ params["out"].astype(float)
            loss = np.log(np.exp(logits).sum()) - logits[label]
            others = [k for k in range(classes) if k == target or k != label]
            sums["loss"][m] += loss * weight
            sums["correct"][m] += (logits.argmax() == label) * weight
            sums["predicted_target"][m] += (logits.argmax() == target) * weight
            sums["captured"][m] += (max(others, key=lambda k: logits[k]) == target) * weight
            sums["predicted"][m, :, logits.argmax()] += weight
    return sums


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


def graft(recipient, donor, mask):
    """Re F^-1[(1 - M) F r + M F d] in float64, from the definition."""
    return real(np.where(mask[:, :, None], spectra(donor), spectra(recipient)))


def perturbed(form, model, batch, rng):
    """The model of a form, its images, 13 perturbations, and (m, i) -> image i under perturbation m in float64."""
    plane, masks = batch.shape[1:3], rng.random((13, *batch.shape[1:3])) < 0.5  # not constant on orbits
    if form == "grafts":
        pairs = np.stack([batch, rng.normal(size=batch.shape).astype(np.float32)], axis=1)
        return graft_model(model), pairs, masks, lambda m, i: graft(*pairs[i], masks[m])
    if not form.startswith("wave"):
        given = np.packbits(masks, axis=-1) if form == "packed masks" else masks
        return model, batch, given, lambda m, i: real(spectra(batch[i]) * masks[m][..., None])
    own = form == "wave in each image"
    shape, (y, x) = (13, 11, 1) if own else (13, 1, 3), np.mgrid[: plane[0], : plane[1]]
    positions = np.stack([rng.integers(0, side, 13) for side in plane], -1).astype(np.int32)
    coefficients = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)

    def disturbed(m, i):
        vertical, horizontal = positions[m] - np.array(plane) // 2
        angle = 2 * np.pi * (vertical * y / plane[0] + horizontal * x / plane[1])
        amplitude, phase = abs(coefficients[m, i * own]), np.angle(coefficients[m, i * own])
        return batch[i].astype(float) + amplitude * np.cos(angle[..., None] + phase)

    waves = LazyArray(13, lambda start, stop: (positions[start:stop], coefficients[start:stop]))
    return WaveModel(apply, model.params, batch.shape[1:]), batch, waves, disturbed


@pytest.mark.parametrize(
    ("form", "plane", "size", "tile_images", "transform"),
    [
        *(("masks", (9, 6), *sizes, "fft") for sizes in ((None, 256), (4, 8), (11, 1000), (1, 3))),
        *(("packed masks", plane, 4, 8, "fft") for plane in ((8, 16), (7, 9))),
        *(("wave in each image", plane, 11, 22, "fft") for plane in ((8, 6), (7, 9))),
        *(("wave in all images", plane, 4, 22, "fft") for plane in ((8, 6), (7, 9))),
        ("grafts", (9, 7), 4, 8, "fft"),  # the last batch of 4 pairs and the last tile of 2 masks are padded
        ("grafts", (8, 6), None, 256, "dft"),
        ("grafts", (9, 7), 11, 3, "dft"),
    ],
)
def test_sums_are_those_of_a_loop_over_perturbations_and_images(form, plane, size, tile_images, transform):
    params, batch, labels, rng = problem(*plane)
    model = Model(apply, params, batch.shape[1:]).at("highest", transform)
    model, images, perturbations, seen = perturbed(form, model, batch, rng)
    targets, weights = rng.integers(0, 4, 13), rng.random((11, 3)).astype(np.float32)
    made, counted = Engine(model, statistics=STATISTICS, tile_images=tile_images), []
    batches = made.image_batches(images, labels, weights, size=size)
    found = made.sums(batches, perturbations, targets=targets, on_tile=counted.append)
    for name, expected in oracle_sums(params, seen, labels, weights, targets).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)
    assert sum(counted) == 13


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


# Grafts


@pytest.mark.parametrize(("plane", "channels"), [((9, 7), 3), ((8, 6), 1), ((5, 12), 3)])
def test_the_empty_mask_leaves_the_recipient_to_the_bit_and_the_full_one_puts_the_donor_in_its_place(plane, channels):
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(11, 2, *plane, channels)).astype(np.float32)
    pixels = graft_model(Model(lambda params, images: images.reshape(len(images), -1), (), (*plane, channels)))
    masks = np.stack([np.zeros(plane, bool), np.ones(plane, bool), rng.random(plane) < 0.5])
    encoded = pixels.encode_images((), jnp.asarray(pairs))
    found = np.asarray(pixels.masked_logits((), jnp.asarray(masks), encoded))
    empty, full, half = found.reshape(3, *pairs[:, 0].shape)
    np.testing.assert_array_equal(empty, pairs[:, 0])
    np.testing.assert_allclose(full, pairs[:, 1], atol=1e-5)
    np.testing.assert_allclose(half, [graft(*pair, masks[2]) for pair in pairs], atol=1e-5)


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_captured_leaves_out_the_recipients_class_where_others_remain_and_of_equals_takes_the_first(classes):
    """Logits are pixels of the recipient, 0, 1 or 2, so most are equal to another."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 3, (40, 2, 3, 5, 1)).astype(np.float32)
    labels, targets = rng.integers(0, classes, 40).astype(np.int32), np.arange(classes)
    model = graft_model(Model(lambda params, images: images.reshape(len(images), -1)[:, :classes], (), (3, 5, 1)))
    made = Engine(model, statistics=("captured",), tile_images=64)
    batches = made.image_batches(pairs, labels, np.eye(40, dtype=np.float32))
    found = made.sums(batches, np.zeros((classes, 3, 5), bool), targets=targets)["captured"]
    expected, ties = np.zeros((classes, 40)), 0
    for target in targets:
        for index, (logits, label) in enumerate(zip(pairs[:, 0].reshape(40, -1)[:, :classes], labels, strict=True)):
            left = [k for k in range(classes) if k != label or k == target or classes == 2]
            largest = [k for k in left if logits[k] == logits[left].max()]
            expected[target, index] = largest[0] == target
            ties += len(largest) > 1
    np.testing.assert_array_equal(found, expected)
    assert classes == 1 or (ties > 20 and 0 < expected.mean() < 1)
