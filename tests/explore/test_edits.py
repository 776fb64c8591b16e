"""Edits of images at painted frequencies, beside their definitions in NumPy's float64."""

import numpy as np
import pytest

from fsjax.explore import edits
from fsjax.fourier import spectrum
from tests.helpers.plane import real, spectra
from tests.helpers.refused import refused

PLANE = (8, 9)


def expected(operation, images, donors, mask, amplitude):
    """The definition, on the whole centred plane."""
    ours, theirs, inside = spectra(images), spectra(donors), mask[None, :, :, None]
    if operation == "wave":
        rows, columns = np.indices(PLANE)
        added, (height, width) = 0, PLANE
        for u, v in {min((u % 8, v % 9), (-u % 8, -v % 9)) for u, v in np.argwhere(mask) - np.array(PLANE) // 2}:
            added = added + np.cos(2 * np.pi * (u * rows / height + v * columns / width))
        return images + added[None, :, :, None] * np.asarray(amplitude)
    new = {
        "graft": np.where(inside, theirs, ours),
        "amplitude": np.where(inside, np.abs(theirs) * np.exp(1j * np.angle(ours)), ours),
        "phase": np.where(inside, np.abs(ours) * np.exp(1j * np.angle(theirs)), ours),
        "remove": np.where(inside, 0, ours),
        "keep": np.where(inside, ours, 0),
    }[operation]
    return real(new)


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    images, donors = rng.normal(size=(2, 3, *PLANE, 2)).astype(np.float32)
    drawn = rng.random(PLANE) < 0.2
    drawn[0, 2] = drawn[4, 4] = True  # a frequency of the first row, and DC
    return images, donors, drawn | spectrum.conjugate(drawn)


@pytest.mark.parametrize("operation", edits.OPERATIONS)
def test_an_operation_changes_the_painted_frequencies_alone_as_it_says(made, operation):
    images, donors, mask = made
    amplitude = np.array([0.3, 0.7], np.float32)
    edited = edits.edit(operation, images, donors, mask, amplitude)
    np.testing.assert_allclose(edited, expected(operation, images, donors, mask, amplitude), atol=3e-6)


def test_a_mask_comes_back_from_its_text_with_whole_orbits(made):
    mask = made[2]
    for each in (mask, ~mask, np.zeros(PLANE, bool), np.ones(PLANE, bool)):
        np.testing.assert_array_equal(edits.read_mask(edits.write_mask(each), PLANE), each)
    one = np.zeros(PLANE, bool)
    one[2, 3] = True
    assert edits.read_mask(edits.write_mask(one), PLANE).sum() == 2
    assert not edits.read_mask("", PLANE).any() and edits.write_mask(np.eye(2, dtype=bool)) == "0.1.2.1"


@pytest.mark.parametrize("text", ["1.-2", "2.x!", "21", 7, "1..2", "9999999"])
def test_what_is_no_mask_is_refused_in_one_line(text):
    expected = "mask: got '.*'; expected lengths of runs in base 36, with dots between them, 72 positions at most"
    refused(expected, edits.read_mask, text, PLANE)
