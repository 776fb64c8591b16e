"""`removal` with compat equals the published procedure in PyTorch, number by number."""

import itertools

import numpy as np
import pytest
from ml_collections import ConfigDict

from benchmarks.parity import published as procedure
from benchmarks.parity.torch_models import from_torch, randomise, torch_resnet
from fsjax import search
from fsjax.engine.model import Model
from fsjax.models import build
from fsjax.models.network import fold
from fsjax.search import removal
from tests.helpers import search_problem

SIZE = 12
SHARES = (0.01, 0.05, 0.1, 0.2)
# Class-sorted batches of 100: the second class lies in both, and the last batch is smaller.
COUNTS = (60, 45, 12)


def tolerance(losses):
    """What two frameworks may differ by in float32."""
    return 2e-6 * np.maximum(1, losses)


@pytest.fixture(scope="module")
def made():
    """A torch ResNet-8 with ten outputs for three classes, its arrays as ours, and class-sorted images."""
    model = torch_resnet("resnet8").eval()
    randomise(model)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), COUNTS)
    scale = 1 / (1 + np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE) * SIZE, np.fft.fftfreq(SIZE) * SIZE)))
    noise = np.fft.fft2(rng.normal(size=(len(labels), SIZE, SIZE, 3)), axes=(1, 2)) * scale[None, :, :, None]
    images = (np.fft.ifft2(noise, axes=(1, 2)).real * 4).astype(np.float32)
    return model, images, labels


def problem(apply, params, images, labels, *, patch=1, transform="fft"):
    options = search.options("removal", patch=patch, shares=SHARES, transform=transform)
    model, run = Model(apply, params, images.shape[1:]), ConfigDict({"memory_mib": 0, "save_seconds": 30.0})
    of_class = [images[labels == label] for label in range(labels.max() + 1)]
    return search_problem.made(model, of_class, options=options, run=run)


@pytest.mark.parametrize(("patch", "transform"), [(1, "fft"), (4, "dft")])
def test_losses_and_maps_are_those_of_the_published_procedure(made, monkeypatch, patch, transform, record_property):
    model, images, labels = made
    expected = procedure.search(model, procedure.batches(images, labels), 3, patch)
    apply, params = fold(build("resnet8", num_classes=10, image_size=SIZE), from_torch(model))
    search_problem.filtering_by(monkeypatch, transform)
    maps = removal.search_compat(problem(apply, params, images, labels, patch=patch, transform=transform))
    assert (np.ptp(expected, axis=(1, 2)) > 0.05).all(), "the comparison means something"
    assert (np.abs(maps.scores - expected) <= tolerance(expected)).all()
    if patch == 1:
        assert (expected[:, 0, SIZE // 2 + 1 :] == 0).all() and (maps.scores[:, 0, SIZE // 2 + 1 :] == 0).all()
    undecided = 0
    for index, share in enumerate(SHARES):
        for label in range(3):
            rank = max(1, int(share * SIZE * SIZE))
            threshold = np.sort(expected[label], axis=None)[-rank]
            near = np.abs(expected[label] - threshold) <= 2 * tolerance(threshold)
            differs = maps.masks[index, label] != (procedure.at_threshold(expected[label], share) == 1)
            assert not (differs & ~near).any()
            undecided += int(differs.sum())
    record_property("positions_that_differ", undecided)
    assert undecided <= 4


def test_a_batch_without_the_class_is_skipped_and_one_with_it_adds_ln_of_the_outputs():
    """By hand: two classes, logits that are always 0, so that every loss is ln 10."""
    labels = np.repeat([0, 1], [150, 70])
    images = np.zeros((220, 4, 4, 3), np.float32)
    zeros = problem(lambda _, images: images[:, :, :, 0].reshape(-1, 16)[:, :10] * 0, {}, images, labels)
    scores = removal.search_compat(zeros).scores
    # Class a is in the first two batches of 100, 100 and 20 images; class b in the last two.
    np.testing.assert_allclose(scores[:, :, :3], 2 * np.log(10), rtol=1e-6)
    assert (scores[:, 0, 3] == 0).all()


@pytest.mark.parametrize(("size", "patch"), [(8, 1), (9, 1), (8, 2), (12, 4), (12, 3)])
def test_blocks_that_share_a_mask_leave_the_same_of_any_image(size, patch):
    """In float64: masks are computed once exactly where they give the same filtered image."""
    image = np.random.default_rng(0).normal(size=(size, size))
    centred = np.fft.fftshift(np.fft.fft2(image))
    blocks = removal.visited_blocks(size, patch)
    masks, of_block = removal.distinct_masks(size, patch, blocks)
    every = [~removal.removed(size, patch, *block) for block in blocks]
    left = [np.fft.ifft2(np.fft.ifftshift(centred * mask)).real for mask in every]
    computed = [np.fft.ifft2(np.fft.ifftshift(centred * mask)).real for mask in masks[:]]
    np.testing.assert_allclose(np.array(computed)[of_block], left, atol=1e-12)
    if patch == 1:
        assert removal.distinct_masks(32, 1, removal.visited_blocks(32, 1))[0].count == 514, "of 544 blocks"
    apart = [np.abs(a - b).max() for a, b in itertools.combinations(computed, 2)]
    assert min(apart) > 1e-3
