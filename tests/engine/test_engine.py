"""The engine against loops in NumPy float64, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.engine import first_layer
from fsjax.engine.engine import Engine
from fsjax.engine.tile import STATISTICS, Perturbations, Removals
from fsjax.fourier import spectrum
from fsjax.runtime import parallel


def problem(height=9, width=6, images=11, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    params = {
        "hidden": rng.normal(size=(height * width * 3, 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, classes)).astype(np.float32),
    }
    batch = rng.normal(size=(images, height, width, 3)).astype(np.float32)
    labels = rng.integers(0, classes, images).astype(np.int32)
    return params, batch, labels, rng


def apply(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def oracle(params, batch, labels, weights, masks=None, components=None, targets=None):
    """Every (perturbation, image) pair by itself, in float64, from the definitions."""
    count = len(masks if components is None else components)
    sums = {name: np.zeros((count, weights.shape[1])) for name in STATISTICS}
    sums["predicted"] = np.zeros((count, weights.shape[1], 4))
    for m in range(count):
        for image, label, weight in zip(batch.astype(np.float64), labels, weights, strict=True):
            centred = np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1))
            if masks is not None:
                centred = centred * (masks[m] if masks.ndim == 3 else masks[m, label])[:, :, None]
            if components is not None:
                centred = centred + components[m]
            filtered = np.fft.ifft2(np.fft.ifftshift(centred, axes=(0, 1)), axes=(0, 1)).real
            logits = np.tanh(filtered.ravel() @ params["hidden"].astype(float)) @ params["out"].astype(float)
            loss = np.log(np.exp(logits).sum()) - logits[label]
            sums["loss"][m] += loss * weight
            sums["loss_squared"][m] += loss**2 * weight
            sums["correct"][m] += (logits.argmax() == label) * weight
            sums["called"][m] += (logits.argmax() == (0 if targets is None else targets[m])) * weight
            sums["predicted"][m, :, logits.argmax()] += weight
    return sums


@pytest.mark.parametrize(("size", "tile_images"), [(None, 256), (4, 8), (5, 5), (11, 1000), (1, 3)])
def test_sums_are_those_of_a_loop_over_masks_and_images(size, tile_images):
    params, batch, labels, rng = problem()
    masks = rng.random((13, 9, 6)) < 0.5
    targets, weights = rng.integers(0, 4, 13), rng.random((11, 3)).astype(np.float32)
    made = Engine(apply, params, statistics=STATISTICS, tile_images=tile_images)
    counted = []
    found = made.sums(made.chunks(batch, labels, weights, size=size), masks, targets=targets, on_tile=counted.append)
    assert_sums(found, oracle(params, batch, labels, weights, masks, targets=targets))
    assert sum(counted) == 13


@pytest.mark.parametrize("kind", ["a mask a class", "components", "masks and components"])
@pytest.mark.parametrize("plane", [(8, 6), (7, 9)])
def test_masks_of_classes_and_added_components_are_those_of_the_definition(kind, plane):
    params, batch, labels, rng = problem(*plane)
    masks = rng.random((5, 4, *plane)) < 0.5 if kind == "a mask a class" else None
    components = None
    if "components" in kind:
        # Not Hermitian: what is added is the real part.
        components = (rng.normal(size=(5, *plane, 3)) + 1j * rng.normal(size=(5, *plane, 3))).astype(np.complex64) * 9
        masks = rng.random((5, *plane)) < 0.5 if "masks" in kind else None
    weights = rng.random((11, 2)).astype(np.float32)
    made = Engine(apply, params, statistics=STATISTICS, tile_images=8)
    found = made.sums(made.chunks(batch, labels, weights, size=4), masks, components)
    assert_sums(found, oracle(params, batch, labels, weights, masks, components))


def assert_sums(found, expected):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=3e-6, atol=3e-6, err_msg=name)


def convolutional(params, images):
    features = jax.lax.conv_general_dilated(
        images, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return apply(params, jnp.tanh(features))


def cut_problem(plane):
    """A model that begins with a convolution, its cut, images, and what is taken out of them in both forms."""
    params, batch, labels, rng = problem(*plane)
    params["kernel"] = rng.normal(size=(3, 3, 3, 3)).astype(np.float32) / 4
    positions = np.stack(np.unravel_index(rng.permutation(plane[0] * plane[1])[:13], plane), axis=1)
    orbits, sizes = spectrum.orbits(*plane), spectrum.orbit_sizes(*plane)
    # Nothing, one member of an orbit, or all of it.
    masks = np.ones((13, *plane), bool)
    for index, (row, column) in enumerate(positions):
        masks[index, row, column] = index % 3 == 0
        masks[index][orbits == orbits[row, column]] &= index % 3 != 2
    shares = (~masks).sum((1, 2)) / sizes[orbits[tuple(positions.T)]]
    assert {0, 0.5, 1} == set(shares)
    cut = first_layer.cut(convolutional, params, batch.shape[1:])
    return params, batch, labels, Removals(positions, shares.astype(np.float32)), masks, cut


@pytest.mark.parametrize("plane", [(8, 6), (7, 9)])
def test_orbits_taken_out_behind_the_first_convolution_are_those_of_masks(plane):
    params, batch, labels, removals, masks, cut = cut_problem(plane)
    weights = np.random.default_rng(1).random((11, 2)).astype(np.float32)
    results = []
    for devices in (1, 2, 8):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(parallel, "local_devices", lambda devices=devices: jax.local_devices()[:devices])
            made = Engine(convolutional, params, statistics=STATISTICS, tile_images=8, cut=cut)
            chunks = made.chunks(batch, labels, weights, size=4)
            found = [
                sums
                for _, _, sums in made.tiles(
                    chunks,
                    lambda start, stop: Removals(removals.positions[start:stop], removals.shares[start:stop]),
                    13,
                )
            ]
            results.append({name: np.concatenate([part[name] for part in found]) for name in found[0]})
            expected = made.sums(chunks, masks)
        assert_sums(results[-1], expected)
        assert len(np.unique(expected["loss"][:, 0])) > 5
    for other in results[1:]:
        np.testing.assert_array_equal(other["loss"], results[0]["loss"])


def test_a_model_that_fails_on_empty_images_spoils_no_sum():
    """Padding has weight 0, but 0 x NaN is NaN."""
    _, batch, labels, _ = problem(height=8, width=8, images=5)

    def normalising(params, images):
        flat = images.reshape(len(images), -1)
        return flat[:, :4] / jnp.linalg.norm(flat, axis=1, keepdims=True)

    made = Engine(normalising, {}, tile_images=8)
    assert np.isfinite(made.sums(made.chunks(batch, labels, size=4), np.ones((3, 8, 8), bool))["loss"]).all()


def test_results_are_bit_equal_on_any_number_of_devices(monkeypatch):
    params, batch, labels, rng = problem(height=8, width=8, images=10)
    masks = rng.random((21, 8, 8)) < 0.7
    results = []
    for count in (1, 2, 4, 8):
        monkeypatch.setattr(parallel, "local_devices", lambda count=count: jax.local_devices()[:count])
        made = Engine(apply, params, tile_images=10)
        results.append(made.sums(made.chunks(batch, labels, size=5), masks)["loss"])
    assert made.per_tile(5) == 16
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_nothing_passes_between_devices_in_a_tile():
    params, batch, labels, _ = problem(height=8, width=8)
    made = Engine(apply, params)
    chunk = made.chunks(batch, labels)[0]
    masks = made._place(Perturbations(np.ones((16, 8, 8), bool)), 16)
    text = made._tile.lower(made._params, masks, chunk).compile().as_text()
    assert "fft" in text
    assert not collectives(text)
    params, batch, labels, removals, _, cut = cut_problem((8, 8))
    made = Engine(convolutional, params, cut=cut)
    placed = made._place(removals, 16)
    text = made._tile.lower(made._params, placed, made.chunks(batch, labels)[0]).compile().as_text()
    assert "fft" not in text and not collectives(text)
    assert not collectives(made._basis.lower(made._params, placed.positions).compile().as_text())


def collectives(text):
    return [name for name in ("all-gather", "all-reduce", "all-to-all", "collective-permute") if name in text]


def test_one_compilation_serves_any_number_of_masks():
    params, batch, labels, _ = problem()
    made = Engine(apply, params, tile_images=16)
    for count in (1, 7, 40):
        made.sums(made.chunks(batch, labels, size=8), np.ones((count, 9, 6), bool))
    assert made._tile._cache_size() == 1


def test_an_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="statistics \\['accuracy'\\] are not among"):
        Engine(apply, problem()[0], statistics=("accuracy",))
