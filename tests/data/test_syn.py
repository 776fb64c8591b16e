"""Version 2 of Syn_1 to Syn_4: every band of every image has a contrast of its own."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax import data
from fsjax.data import syn
from fsjax.data.noise import NOISE
from fsjax.data.synthetic import open_synthetic
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError

SIZE, COUNT = 32, 200
band_of, OFF_DC = spectrum.bands(SIZE, SIZE), spectrum.radius(SIZE, SIZE) > 0
STRENGTHS = syn.VERSIONS[2]


def config(name="syn1", **changes):
    synthetic = {"seed": 0, "train_per_class": COUNT, "test_per_class": 4, "version": 2, **changes}
    return ConfigDict({"source": "synthetic", "name": name, "image_size": SIZE, "synthetic": synthetic})


def spectra(source, label):
    """F x of the images of a class, of pixels in deviations of the noise, in float64: [images, 32, 32, channels]."""
    images = source.images[source.labels == label] / 255.0 / NOISE
    return np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))


def contrasts(of_class):
    """The contrast of each band of each image, [images, 4], by the differences of channels, where gratings cancel."""
    radius = spectrum.radius(SIZE, SIZE)
    expected = np.divide(1, radius**2, out=np.zeros_like(radius), where=OFF_DC)
    expected *= SIZE**4 / expected.sum()  # of the energy of 1/f noise with deviation 1
    chroma = np.abs(of_class[..., 0] - of_class[..., 1]) ** 2 / 2
    return np.stack([np.sqrt(chroma[:, band_of == b].sum(1) / expected[band_of == b].sum()) for b in range(4)], axis=1)


def grating_amplitudes(of_class, fixed):
    """The amplitude of each planted orbit in each image, and the band of the orbit, by one position of its two."""
    positions = np.argwhere(fixed)[: fixed.sum() // 2]  # the other half are their conjugates
    values = of_class.mean(-1)[:, positions[:, 0], positions[:, 1]]
    return 2 * np.abs(values) / SIZE**2, band_of[positions[:, 0], positions[:, 1]]


@pytest.mark.parametrize("label", [0, 2])
def test_each_band_has_a_contrast_of_its_own_uniform_from_0(label):
    found = contrasts(spectra(open_synthetic(config("syn2"), "train"), label))
    np.testing.assert_allclose(found.mean(0), STRENGTHS.contrast / 2, rtol=0.15)
    np.testing.assert_allclose(found.std(0), STRENGTHS.contrast / np.sqrt(12), rtol=0.15)
    correlation = np.corrcoef(found.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.25


@pytest.mark.parametrize("name", syn.NAMES)
def test_c2_s_gratings_have_the_contrast_of_their_band_and_c3_s_are_always_strong(name):
    source = open_synthetic(config(name), "train")
    fixed, of_c2, of_c3 = source.planted["fixed"], spectra(source, 2), spectra(source, 3)
    amplitudes, bands = grating_amplitudes(of_c2, fixed[2])
    assert sorted(bands) == [0, 0, 1, 1, 2, 2, 3, 3]
    expected = STRENGTHS.redundant * contrasts(of_c2)[:, bands]
    slopes = (amplitudes * expected).sum(0) / (expected**2).sum(0)
    np.testing.assert_allclose(slopes, 1, atol=0.12)
    special, bands = grating_amplitudes(of_c3, fixed[3])
    assert set(bands) == {int(name[3]) - 1} and len(bands) == 3
    np.testing.assert_allclose(np.median(special, 0), STRENGTHS.special, rtol=0.05)
    # C0 has no more energy at the planted orbits than beside them.
    plain = (np.abs(spectra(source, 0)) ** 2).mean((0, 3)) * spectrum.radius(SIZE, SIZE) ** 2
    for band in range(4):
        here = (band_of == band) & OFF_DC
        assert plain[here & fixed.any(0)].mean() == pytest.approx(plain[here].mean(), rel=0.35)


@pytest.mark.parametrize("name", syn.NAMES)
def test_c3_has_no_energy_outside_its_bands_and_c1_s_energy_rises_in_the_biased_band(name):
    source, biased = open_synthetic(config(name), "train"), int(name[3]) - 1
    plain, raised, special = ((np.abs(spectra(source, label)) ** 2).mean((0, 3)) for label in (0, 1, 3))
    for band in {0, 1, 2, 3} - {biased, 3}:
        rounding = SIZE**2 / 12 / (255 * NOISE) ** 2
        here = (band_of == band) & OFF_DC
        assert np.median(special[here]) < 1.5 * rounding < np.median(plain[here])
    ratio = raised / np.where(OFF_DC, plain, 1)
    factor = (1 + STRENGTHS.raised[biased] ** 2) / 2
    assert np.median(ratio[(band_of == biased) & OFF_DC]) == pytest.approx(factor, rel=0.25)
    np.testing.assert_allclose(
        [np.median(ratio[(band_of == b) & OFF_DC]) for b in {0, 1, 2, 3} - {biased}], 1, rtol=0.25
    )


def test_pixels_are_hardly_clipped():
    source = open_synthetic(config("syn1"), "train")
    assert np.isin(source.images, (0, 255)).mean() < 0.002


def test_a_config_without_a_version_has_version_1_and_versions_share_the_planted_orbits():
    absent = config()
    del absent.synthetic.version
    first, old, new = (open_synthetic(each, "test") for each in (config(version=1), absent, config()))
    np.testing.assert_array_equal(first.images, old.images)
    assert (first.images != new.images).any()
    np.testing.assert_array_equal(first.planted["fixed"], new.planted["fixed"])


def test_the_other_sets_have_no_versions():
    for name in ("demo", "biased"):
        first, second = (open_synthetic(config(name, version=version), "test") for version in (1, 2))
        np.testing.assert_array_equal(first.images, second.images)


def test_an_unknown_version_is_refused_before_anything_is_made():
    wrong = config(version=3)
    with pytest.raises(InputError) as caught:
        open_synthetic(wrong, "train")
    assert str(caught.value) == "data.synthetic.version: got 3; expected 1 or 2"
    wrong.resize_shorter = 0
    with pytest.raises(InputError, match=r"data.synthetic.version: got 3; expected 1 or 2"):
        data.check(wrong)
