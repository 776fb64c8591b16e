"""Ways that change the images of a batch, against NumPy in float64: which, how, and how often."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, binomtest, chi2_contingency, chisquare

from benchmarks.ways import orbit_dropout
from fsjax.data.augment import image_keys
from fsjax.data.operations import jpeg_at
from fsjax.fourier import spectrum
from fsjax.runtime import image_files, parallel
from fsjax.training.ways import amplitude_swap, dfmx, graft, operations
from tests.helpers.linear_classifier import MEAN_STD
from tests.helpers.plane import filtered, real, spectra


@functools.cache
def compiled(way):
    return jax.jit(jax.vmap(way, axis_name=parallel.AXIS))


def changed(way, images, labels=None, *, devices=1, seed=0, epoch=0, indices=None):
    """Images after a way, on several devices of equally many rows."""
    labels = np.zeros(len(images), int) if labels is None else labels
    indices = jnp.arange(len(images)) if indices is None else jnp.asarray(indices)
    keys = image_keys(seed, jnp.full(len(images), epoch), indices)
    rows = (value.reshape(devices, -1, *value.shape[1:]) for value in (keys, labels, images))
    return np.asarray(compiled(way)(*rows)).reshape(images.shape)


def drawn_by(images, made, candidates):
    """Which of `candidates(image)` [m, H, W, C] each image became; -1 where it is what it was, bit for bit."""
    found = []
    for image, out in zip(images, made, strict=True):
        apart = np.abs(candidates(image) - out).max((1, 2, 3))
        assert np.array_equal(image, out) or apart.min() < 1e-5, "neither the image nor a candidate"
        found.append(-1 if np.array_equal(image, out) else int(np.argmin(apart)))
    return np.array(found)


def noise(*shape):
    return np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)


def class_masks(height, width, classes=4):
    """Masks that are not constant on orbits and lack DC."""
    masks = np.random.default_rng(0).random((classes, height, width)) < 0.4
    masks[:, height // 2, width // 2] = False
    return masks


LABELS = np.random.default_rng(0).integers(0, 4, 3000)
# Name -> a way that changes images, and the same without an effect.
WAYS = {
    "dfmx": [dfmx.make_dfmx(class_masks(6, 6), probability) for probability in (0.9, 0.0)],
    "graft": [graft.make_graft(spectrum.radius(6, 6) < radius) for radius in (0.3, 0.0)],
    "amplitude_swap": [amplitude_swap.make_amplitude_swap(probability, MEAN_STD) for probability in (0.9, 0.0)],
    "orbit_dropout": [orbit_dropout.make_orbit_dropout(6, probability, 0.5) for probability in (1.0, 0.0)],
    "operations": [
        operations.make_operations(("checkerboard", "noise"), MEAN_STD, probability) for probability in (1.0, 0.0)
    ],
}


@pytest.mark.parametrize("name", WAYS)
def test_draws_follow_from_seed_epoch_and_image_and_devices_do_not_matter(name):
    (way, none), images, labels = WAYS[name], noise(8, 6, 6), LABELS[:8]
    whole = changed(way, images, labels)
    np.testing.assert_allclose(changed(way, images, labels, devices=4), whole, atol=1e-5)
    for other in ({"epoch": 1}, {"seed": 1}):
        assert np.abs(changed(way, images, labels, **other) - whole).max() > 0.1
    if name in ("dfmx", "orbit_dropout", "operations"):  # which draw nothing from the batch
        some = [5, 2]
        np.testing.assert_allclose(changed(way, images[some], labels[some], indices=some), whole[some], atol=1e-6)
    np.testing.assert_array_equal(changed(none, images, labels), images)


def test_an_image_keeps_the_frequencies_of_another_class_and_dc_or_is_left_as_it_is():
    images, masks = noise(3000, 8, 7), class_masks(8, 7)
    with_dc = masks | (spectrum.radius(8, 7) == 0)
    made = changed(dfmx.make_dfmx(masks, 0.5), images, LABELS)
    drawn = drawn_by(images, made, lambda image: filtered(image[None], with_dc)[:, 0])
    assert not (drawn == LABELS).any(), "never its own class"
    assert binomtest(int((drawn >= 0).sum()), 3000, 0.5 * 3 / 4).pvalue > 1e-3
    for label in range(4):
        others = np.bincount(drawn[(label == LABELS) & (drawn >= 0)], minlength=4)
        assert chisquare(np.delete(others, label)).pvalue > 1e-3, "all other classes equally often"
    np.testing.assert_array_equal(changed(dfmx.make_dfmx(masks[:1], 1.0), images[:40]), images[:40])


def grafted_by_numpy(recipient, donor, mask):
    """F^-1[(1 - M) F r + M F d] in float64."""
    return real(np.where((mask | spectrum.conjugate(mask))[..., None], spectra(donor), spectra(recipient)))


@pytest.mark.parametrize("plane", [(8, 8), (9, 7)])
def test_each_image_gets_the_masks_frequencies_of_one_image_of_the_batch(plane):
    images, mask = noise(12, *plane), np.random.default_rng(1).random(plane) < 0.2  # not constant on orbits
    made = changed(graft.make_graft(mask), images)
    donors = drawn_by(images, made, lambda image: np.stack([grafted_by_numpy(image, donor, mask) for donor in images]))
    assert len(set(donors)) > 4 and not (donors == np.arange(12)).any(), "its own leave it as it is, bit for bit"


def test_the_frequencies_tell_nothing_of_the_label_also_of_classes_of_unlike_size():
    """A class is written into one orbit; after the way it is independent of the label, and the rest as it was."""
    labels, mask = np.repeat([0, 1, 2], [12, 6, 2]), spectrum.orbits(8, 8) == 3
    (v, h), (rows, columns) = np.argwhere(mask)[0] - 4, np.mgrid[:8, :8]
    wave = np.cos(2 * np.pi * (v * rows + h * columns) / 8)
    images = filtered(noise(20, 8, 8), ~mask)
    planted = images + (1 + labels)[:, None, None, None] * wave[..., None]
    table, way = np.zeros((3, 3)), graft.make_graft(mask)
    for epoch in range(60):
        made = changed(way, planted.astype(np.float32), epoch=epoch)
        carried = np.rint(np.abs(np.fft.fft2(made, axes=(1, 2))).max((1, 2, 3)) / 32).astype(int) - 1
        np.add.at(table, (labels, carried), 1)
        np.testing.assert_allclose(filtered(made, ~mask), images, atol=1e-5)
    assert chi2_contingency(table).pvalue > 0.01
    np.testing.assert_allclose(table.sum(0) / table.sum(), [0.6, 0.3, 0.1], atol=0.05)


@pytest.mark.parametrize("plane", [(8, 8), (7, 9)])
def test_an_image_gets_the_amplitudes_of_one_of_the_batch_and_keeps_its_phases(plane):
    pixels = np.random.default_rng(0).random((24, *plane, 3))
    images = ((pixels - MEAN_STD[0]) / MEAN_STD[1]).astype(np.float32)
    amplitudes, way = np.abs(spectra(pixels)), amplitude_swap.make_amplitude_swap(0.75, MEAN_STD)

    def candidates(image):
        swapped = real(amplitudes * np.exp(1j * np.angle(spectra(image * MEAN_STD[1] + MEAN_STD[0]))))
        return (swapped - MEAN_STD[0]) / MEAN_STD[1]

    drawn = np.concatenate([drawn_by(images, changed(way, images, epoch=epoch), candidates) for epoch in range(20)])
    assert binomtest(int((drawn >= 0).sum()), 480, 0.75).pvalue > 1e-3
    assert chisquare(np.bincount(drawn[drawn >= 0], minlength=24)).pvalue > 1e-3, "all images equally often"


@pytest.mark.parametrize("size", [8, 7])
def test_each_orbit_but_dc_is_removed_or_left(size):
    images = noise(400, size, size)
    made = changed(orbit_dropout.make_orbit_dropout(size, 0.6, 0.3), images)
    before, after = spectra(images), spectra(made)
    gone = np.abs(after).max(-1) < 1e-4
    np.testing.assert_allclose(after, np.where(gone[..., None], 0, before), atol=2e-4)
    lost = (made != images).any((1, 2, 3))
    assert binomtest(int(lost.sum()), 400, 0.6).pvalue > 1e-3
    assert not gone[~lost].any() and not gone[:, size // 2, size // 2].any()
    orbits = spectrum.orbits(size, size)
    others = np.delete(np.arange(orbits.max() + 1), orbits[size // 2, size // 2])
    each = np.stack([gone[lost][:, orbits == orbit] for orbit in others if (orbits == orbit).sum() == 2])
    assert (each[..., 0] == each[..., 1]).all(), "with its conjugate"
    per_orbit = spectrum.per_orbit(gone[lost])[:, others]
    assert binomtest(int(per_orbit.sum()), per_orbit.size, 0.3).pvalue > 1e-3
    # Independent orbits: the number that an image loses is binomial.
    edges = binom.ppf([0, 0.25, 0.5, 0.75, 1], len(others), 0.3)
    counts = np.histogram(per_orbit.sum(1), np.append(-1, edges[1:]) + 0.5)[0]
    expected = np.diff(binom.cdf(np.append(-1, edges[1:]), len(others), 0.3)) * len(per_orbit)
    assert chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("quality", [8, 45])
def test_jpeg_in_training_is_pillows(quality):
    rng = np.random.default_rng(0)  # colours are constant on 16 x 16, so Pillow halves no resolution
    image = rng.integers(60, 160, (2, 3, 3)).repeat(16, 0).repeat(16, 1) + rng.integers(0, 50, (32, 48, 1))
    made = 255 * np.clip(jpeg_at(float(quality), jnp.asarray(image / 255, jnp.float32)), 0, 1)
    assert np.abs(made - image_files.jpeg(image.astype(np.uint8), quality)).mean() < 1.5 < np.abs(made - image).mean()
