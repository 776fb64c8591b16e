"""Pairs of grafts: every image as often as every other, and the same pairs for the same seed."""

import numpy as np
import pytest

from fsjax.data import selection

COUNTS = (7, 20, 3, 5)


def labels_of(counts, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def draw(labels, usable, label, count, seed):
    return selection.draw_pairs(selection.images_by_class(labels, usable), label, count, seed)


def times(images, rows):
    """How often each of some images was drawn."""
    assert np.isin(rows, images).all()
    return np.array([(rows == image).sum() for image in images])


@pytest.mark.parametrize(("label", "count"), [(0, 3), (1, 7), (2, 40), (0, 120)])
def test_every_image_comes_once_before_one_comes_again_and_classes_give_equally_many(label, count):
    labels = labels_of(COUNTS)
    usable = np.flatnonzero(np.random.default_rng(1).random(len(labels)) < 0.8)
    found = draw(labels, usable, label, count, seed=3)
    assert len(found) == len(found.donors) == len(found.recipients) == len(found.partners) == count
    own = usable[labels[usable] == label]
    assert np.ptp(times(own, found.donors)) <= 1
    for start in range(0, count - len(own) + 1, len(own)):
        assert len(set(found.donors[start : start + len(own)])) == len(own), "a round has every donor"
    of_class = []
    for other in set(range(4)) - {label}:
        images = usable[labels[usable] == other]
        drawn = times(images, found.recipients[labels[found.recipients] == other])
        assert np.ptp(drawn) <= 1
        of_class.append(drawn.sum())
    assert sum(of_class) == count and np.ptp(of_class) <= 1
    assert np.isin(found.partners, own).all() and (found.partners != found.donors).all()
    assert np.isin(found.companions, usable).all() and (found.companions != found.recipients).all()
    np.testing.assert_array_equal(labels[found.companions], labels[found.recipients])


def test_a_donor_meets_every_partner_before_one_again_and_classes_come_in_no_order():
    labels = labels_of((4, 30, 30))
    found = draw(labels, np.arange(64), 0, 36, seed=0)
    for donor in np.unique(found.donors):
        partners = found.partners[found.donors == donor]
        assert len(partners) == 9 and np.ptp(times(np.unique(found.donors[found.donors != donor]), partners)) == 0
    of_class = labels[found.recipients]
    assert 5 < (of_class[1:] == of_class[:-1]).sum() < 30, "neither in turn nor in blocks"
    halves = [of_class[found.donors == donor].mean() for donor in np.unique(found.donors)]
    assert np.ptp(halves) < 1, "no donor has a class of its own"


@pytest.mark.parametrize("counts, label", [((9,), 0), ((1, 9), 0), ((0, 9), 0), ((9, 0), 0), ((9, 9), 2), ((0, 0), 0)])
def test_without_another_class_or_a_second_image_there_are_none(counts, label):
    labels = labels_of(counts)
    found = draw(labels, np.arange(len(labels)), label, 12, seed=0)
    assert len(found) == 0 and all(rows.dtype.kind == "i" for rows in vars(found).values())
    others_only = np.flatnonzero(labels != label)
    assert len(draw(labels, others_only, label, 12, seed=0)) == 0


def test_pairs_are_those_of_their_seed_and_class():
    """The numbers of today, which are part of every result."""
    labels = np.tile(np.arange(3), 10)
    found = draw(labels, np.arange(30), 1, 6, seed=5)
    assert found.donors.tolist() == [10, 25, 22, 4, 13, 19]
    assert found.recipients.tolist() == [18, 24, 20, 8, 15, 17]
    assert found.partners.tolist() == [25, 22, 4, 13, 19, 1]
    assert found.companions.tolist() == [24, 6, 17, 29, 18, 8]
    again, other_seed = (draw(labels, np.arange(30), 1, 6, seed=seed) for seed in (5, 6))
    for name, rows in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), rows)
        assert (getattr(other_seed, name) != rows).any()
    more = draw(labels, np.arange(30), 1, 9, seed=5)
    np.testing.assert_array_equal(more.donors[:6], found.donors)


def test_a_sample_of_a_class_has_its_images_once_each_and_all_of_them_if_there_are_no_more():
    labels = np.arange(40) % 2
    sample = selection.sample_of_class(labels, 1, 15, seed=0)
    assert len(np.unique(sample)) == 15 and (labels[sample] == 1).all() and (np.diff(sample) > 0).all()
    assert not np.array_equal(sample, selection.sample_of_class(labels, 1, 15, seed=1))
    for count in (0, 20, 99):
        np.testing.assert_array_equal(selection.sample_of_class(labels, 1, count, seed=0), np.arange(1, 40, 2))
