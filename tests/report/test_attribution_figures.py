"""Figures of attributions draw what was counted, and the images that their sets make."""

import numpy as np

from fsjax.evaluation.attribution import Attribution
from fsjax.fourier import masks
from fsjax.report import attribution_figures

RNG = np.random.default_rng(0)
SHARES = (0.05, 0.1, 0.5)


def attribution(count=8, plane=(6, 6)):
    curves = [{name: RNG.random((count, 3)) < 0.6 for name in ("attribution", "energy", "random")} for _ in range(2)]
    return Attribution(
        predicted=np.arange(count) % 2,
        of_baseline=np.zeros(count, int),
        scores=RNG.normal(size=(count, *plane)).astype(np.float32),
        places=np.zeros((count, *plane), np.int32),
        shares=SHARES,
        kept=curves[0],
        kept_without=curves[1],
        smallest=np.stack([masks.low_pass(*plane, 1 + 2 * index) for index in range(count)]),
    )


def test_curves_are_shares_of_kept_predictions_and_their_paired_differences():
    found = attribution()
    inserted, deleted, differences = attribution_figures.kept_curves(found).axes[:3]
    for axis, curves in ((inserted, found.kept), (deleted, found.kept_without)):
        for line in axis.lines:
            np.testing.assert_array_equal(line.get_ydata(), curves[line.get_label()].mean(0))
            assert list(line.get_xdata()) == list(SHARES)
    for line, name in zip(differences.lines[1:], ("energy", "random"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), found.kept["attribution"].mean(0) - found.kept[name].mean(0))


def test_a_row_shows_the_image_its_smallest_set_alone_and_the_image_without_it():
    found = attribution()
    images = RNG.normal(size=(8, 6, 6, 3)).astype(np.float32) / 20
    baselines = np.full_like(images, 0.01)
    mean_std = ((0.4, 0.5, 0.6), (0.5, 0.5, 0.5))
    figure = attribution_figures.smallest_sets(
        found, images, ("ox", "frog"), baselines=baselines, mean_std=mean_std, most=2
    )
    assert len(figure.axes) == 8 and figure.axes[4].get_ylabel() == "frog"
    whole, chosen, alone, without = (axis.images[0].get_array() for axis in figure.axes[4:])
    np.testing.assert_array_equal(np.asarray(chosen) == 0, found.smallest[1])
    centred = np.fft.fftshift(np.fft.fft2(images[1].astype(float) - 0.01, axes=(0, 1)), axes=(0, 1))
    part = np.fft.ifft2(np.fft.ifftshift(centred * found.smallest[1][..., None], axes=(0, 1)), axes=(0, 1)).real
    pixels = [image * 0.5 + mean_std[0] for image in (images[1], 0.01 + part, images[1] - part)]
    for drawn, expected in zip((whole, alone, without), pixels, strict=True):
        np.testing.assert_allclose(drawn, expected, atol=1e-6)
