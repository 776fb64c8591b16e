"""Grafts in the engine against loops in NumPy float64, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model, graft_model
from fsjax.engine.tile import STATISTICS
from tests.helpers.engine_oracle import apply, network_params, oracle_sums
from tests.helpers.plane import real, spectra

CLASSES, PAIRS, MASKS = 4, 11, 13


def problem(plane, channels=3, seed=0):
    """A small network, pairs of noise images, the labels of their recipients, and masks not constant on orbits."""
    rng = np.random.default_rng(seed)
    params = network_params(rng, (*plane, channels), CLASSES)
    pairs = rng.normal(size=(PAIRS, 2, *plane, channels)).astype(np.float32)
    labels = rng.integers(0, CLASSES, PAIRS).astype(np.int32)
    return Model(apply, params, (*plane, channels)), pairs, labels, rng


def graft(recipient, donor, mask):
    """Re F^-1[(1 - M) F r + M F d] in float64, from the definition."""
    return real(np.where(mask[:, :, None], spectra(donor), spectra(recipient)))


@pytest.mark.parametrize(
    ("plane", "size", "tile_images", "transform"),
    [((9, 7), 4, 8, "fft"), ((8, 6), None, 256, "dft"), ((9, 7), 11, 3, "dft")],
)
def test_sums_are_those_of_a_loop_over_masks_and_pairs(plane, size, tile_images, transform):
    """The last batch of 4 pairs and the last tile of 2 masks are padded."""
    model, pairs, labels, rng = problem(plane)
    masks = rng.random((MASKS, *plane)) < 0.4
    weights, targets = rng.random((PAIRS, 3)).astype(np.float32), rng.integers(0, CLASSES, MASKS)
    made = Engine(graft_model(model.at("highest", transform)), statistics=STATISTICS, tile_images=tile_images)
    found = made.sums(made.image_batches(pairs, labels, weights, size=size), masks, targets=targets)
    expected = oracle_sums(model.params, lambda m, i: graft(*pairs[i], masks[m]), labels, weights, targets)
    assert len(np.unique(expected["captured"] - expected["predicted_target"])) > 3
    for name in STATISTICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("plane", "channels"), [((9, 7), 3), ((8, 6), 1), ((5, 12), 3)])
def test_the_empty_mask_leaves_the_recipient_to_the_bit_and_the_full_one_puts_the_donor_in_its_place(plane, channels):
    _, pairs, _, rng = problem(plane, channels)
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


def test_a_tile_of_grafts_stays_within_its_memory():
    model = problem((16, 10))[0]
    grafts, pairs = graft_model(model), 2000
    # A pair lies on the device as the recipient, in float32, and the half spectrum of the difference, complex64.
    resident = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)) + pairs * 16 * 3 * (10 * 4 + 6 * 8)
    sizes = [tile_size.fit(grafts, resident_images=pairs, memory_mib=memory) for memory in (10, 12)]
    for size, memory in zip(sizes, (10, 12), strict=True):
        used = resident + tile_size.temporary_bytes(grafts, size)
        assert 0.8 * memory * tile_size.MIB < used <= memory * tile_size.MIB * 1.02
    assert tile_size.layout(grafts, [pairs], memory_mib=9)["chunk"] >= 1
