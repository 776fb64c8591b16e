"""FGSM and PGD against the same attacks written in PyTorch, and against what a ball and a convex loss allow."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from fsjax.data.dataset import ArrayDataset
from fsjax.evaluation.ood import attacks
from tests.helpers.linear_classifier import linear
from tests.helpers.refused import refused

MEAN_STD = (np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3]))
SIZE, CLASSES = 5, 4
RNG = np.random.default_rng(3)
WEIGHTS = tuple(RNG.normal(size=shape).astype(np.float32) / 4 for shape in ((SIZE * SIZE * 3, 12), (12, CLASSES)))


class Made(ArrayDataset):
    """Images of random grey levels from low to high."""

    def __init__(self, count, low=40, high=200, classes=CLASSES, seed=0):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, count)
        self.levels = rng.integers(low, high + 1, (count, SIZE, SIZE, 3)).astype(np.uint8)
        super().__init__(self.levels, labels, tuple(map(str, range(classes))))


def apply(weights, images):
    """A perceptron of smooth units, so that no gradient hangs on rounding."""
    return jnp.tanh(images.reshape(len(images), -1) @ weights[0]) @ weights[1]


def torch_gradient(levels, labels, model):
    """Of the cross-entropy to the labels, by the grey levels [0, 255], in float64."""
    levels = torch.tensor(levels, dtype=torch.float64, requires_grad=True)
    mean, std = (torch.tensor(part) for part in MEAN_STD)
    logits = model(((levels / 255 - mean) / std).reshape(len(levels), -1))
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels, dtype=torch.long), reduction="sum").backward()
    return levels.grad.numpy()


def torch_perceptron(flat):
    first, second = (torch.tensor(part, dtype=torch.float64) for part in WEIGHTS)
    return torch.tanh(flat @ first) @ second


def attacked(text, images, *, weights=WEIGHTS, model=apply, seed=0, batch_size=128, numbers=None):
    """The grey levels of the attacked images."""
    attacker = attacks.make_attacker(model, MEAN_STD, attacks.parse(text), seed, batch_size=batch_size)
    made = attacker(weights, images, np.arange(len(images)) if numbers is None else numbers)
    np.testing.assert_array_equal(made.labels, images.labels)
    assert made.image_size == SIZE and made.classes == images.classes
    return made.images(np.arange(len(images)))


def test_fgsm_is_pytorchs_of_exactly_its_radius_and_clipped_to_the_range_of_pixels():
    images = Made(21)
    found = attacked("fgsm:4/255", images)
    expected = images.levels + 4.0 * np.sign(torch_gradient(images.levels, images.labels, torch_perceptron))
    np.testing.assert_array_equal(found, expected)
    assert (np.abs(found - images.levels) == 4).all(), "no pixel is near 0 or 255, so nothing is clipped"
    images = Made(9, 0, 255)
    found = attacked("fgsm:0.1", images)
    step = 25.5 * np.sign(torch_gradient(images.levels, images.labels, torch_perceptron))
    np.testing.assert_allclose(found, np.clip(images.levels + step, 0, 255), atol=1e-4)
    assert found.min() == 0 and found.max() == 255


@pytest.mark.parametrize("steps", [1, 7])
def test_pgd_is_a_loop_in_pytorch_from_the_same_start(steps):
    images, radius = Made(13, 0, 255, seed=1), 8.0
    found = attacked(f"pgd:8/255:{steps}", images, seed=5)
    first = np.asarray(attacks.starts(5, jnp.arange(13), (SIZE, SIZE, 3), radius), float)
    assert (np.abs(first) <= radius).all() and np.abs(first).max() > 0.98 * radius and first.std() > 4
    current = np.clip(images.levels + first, 0, 255)
    for _ in range(steps):
        step = 2.5 * radius / steps * np.sign(torch_gradient(current, images.labels, torch_perceptron))
        current = np.clip(current + step, images.levels - radius, images.levels + radius).clip(0, 255)
    np.testing.assert_allclose(found, current, atol=1e-3)
    assert np.abs(found - images.levels).max() <= 8 and found.min() >= 0 and found.max() <= 255


def test_the_gradient_is_right_where_the_model_is_sure_and_nothing_changes_where_there_is_one_class():
    """Probabilities that round to 1 in float32: the usual cross-entropy would follow the other classes only."""
    images = Made(60)
    weights = np.random.default_rng(4).normal(size=(SIZE * SIZE * 3, CLASSES)).astype(np.float32) * 2
    logits = ((images.levels / 255 - MEAN_STD[0]) / MEAN_STD[1]).reshape(60, -1) @ weights.astype(float)
    # Less sure than float64 can tell, in which PyTorch says what is right.
    gap = np.diff(np.sort(logits, axis=1)[:, -2:])[:, 0]
    sure = np.flatnonzero((gap > 17) & (gap < 33))
    assert len(sure) >= 5
    levels, labels = images.levels[sure], logits.argmax(1)[sure]
    images = ArrayDataset(levels, labels, images.classes)
    model = lambda flat: flat @ torch.tensor(weights, dtype=torch.float64)  # noqa: E731
    expected = levels + 4.0 * np.sign(torch_gradient(levels, labels, model))
    np.testing.assert_array_equal(attacked("fgsm:4/255", images, weights=weights, model=linear), expected)

    only = Made(4, classes=1)
    np.testing.assert_array_equal(attacked("fgsm:4/255", only, weights=weights[:, :1], model=linear), only.levels)


def test_an_image_is_attacked_alike_in_any_batch_and_any_order():
    images = Made(19, seed=6)
    whole = attacked("pgd:4/255:3", images)
    np.testing.assert_array_equal(attacked("pgd:4/255:3", images, batch_size=1), whole)
    some = np.array([17, 3, 8])
    np.testing.assert_array_equal(attacked("pgd:4/255:3", images.subset(some), numbers=some), whole[some])
    assert (attacked("pgd:4/255:3", images, seed=1) != whole).any()


@pytest.mark.parametrize(
    "text",
    [
        *("cw:4/255", "fgsm", "fgsm:", "fgsm:four", "fgsm:4/0", "fgsm:nan", "fgsm:0", "fgsm:-1/255", "fgsm:256/255"),
        *("fgsm:4/255:10", "pgd:4/255", "pgd:4/255:0", "pgd:4/255:2.5", "pgd:4/255:2:1"),
    ],
)
def test_an_attack_is_read_and_an_unknown_one_or_its_radius_refused_in_one_line(text):
    for known, radius, steps in (("fgsm:4/255", 4 / 255, 0), ("pgd:0.03:10", 0.03, 10), (" pgd : 1 : 1", 1, 1)):
        assert float(attacks.parse(known).radius) == radius and attacks.parse(known).steps == steps
    refused(f"^ood.attacks: got {text!r}; expected fgsm:RADIUS or pgd:RADIUS:STEPS", attacks.parse, text)
