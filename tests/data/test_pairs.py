"""Pairs for grafts: who meets whom."""

import numpy as np
import pytest

from fsjax.data import pairs

LABELS = np.repeat([0, 1, 2, 3], [5, 9, 4, 7])


@pytest.mark.parametrize("count", [1, 5, 12, 40])
def test_donors_come_once_before_one_comes_again_and_other_classes_give_equally_many_recipients(count):
    usable = np.random.default_rng(0).permutation(len(LABELS))[:20]
    own = usable[LABELS[usable] == 1]
    drawn = pairs.draw(LABELS, usable, 1, count, seed=3)
    for start in range(0, count, len(own)):
        once = drawn.donors[start : start + len(own)]
        assert set(once) <= set(own) and len(set(once)) == len(once)
    of_class = [(LABELS[drawn.recipients] == label).sum() for label in (0, 2, 3)]
    assert sum(of_class) == count == len(drawn) and max(of_class) - min(of_class) <= 1
    for label in (0, 2, 3):
        of_label = drawn.recipients[LABELS[drawn.recipients] == label]
        times = [(of_label == image).sum() for image in usable[LABELS[usable] == label]]
        assert sum(times) == len(of_label) and max(times) - min(times) <= 1
    assert set(drawn.partners) <= set(own) and (drawn.partners != drawn.donors).all()


def test_a_donor_meets_many_partners_and_another_seed_draws_other_pairs():
    drawn = pairs.draw(LABELS, np.arange(len(LABELS)), 2, 12, seed=0)
    met = [set(drawn.partners[drawn.donors == donor]) for donor in np.unique(drawn.donors)]
    assert [len(partners) for partners in met] == [3] * 4
    other = pairs.draw(LABELS, np.arange(len(LABELS)), 2, 12, seed=1)
    assert (drawn.donors != other.donors).any() and (drawn.recipients != other.recipients).any()


def test_there_are_no_pairs_of_a_class_of_one_image_or_without_another_class():
    assert len(pairs.draw(np.array([0, 1, 1]), np.arange(3), 0, 5, seed=0)) == 0
    assert len(pairs.draw(np.array([1, 1, 1]), np.arange(3), 1, 5, seed=0)) == 0
