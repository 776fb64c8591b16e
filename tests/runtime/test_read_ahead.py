"""Reading ahead: in order, one item and no more, errors in their turn, and nothing held that is used."""

import gc
import threading
import weakref

import numpy as np
import pytest

from fsjax.runtime.read_ahead import read_ahead


def test_the_next_item_is_read_while_one_is_used_and_no_more():
    started = [threading.Event() for _ in range(4)]

    def read(item):
        started[item].set()
        return 10 * item

    for item, value in read_ahead(read, range(4)):
        assert value == 10 * item
        if item < 3:
            assert started[item + 1].wait(5), "in a thread"
        assert not any(event.is_set() for event in started[item + 2 :])


def test_an_error_comes_in_its_turn():
    def read(item):
        if item == 1:
            raise ValueError("the second")
        return item

    items = read_ahead(read, [0, 1, 2])
    assert next(items) == (0, 0)
    with pytest.raises(ValueError, match="the second"):
        next(items)


def test_nothing_is_read_of_nothing_and_a_closed_iterator_reads_no_further():
    assert list(read_ahead(len, [])) == []
    read = []
    items = read_ahead(lambda item: read.append(item), range(9))
    next(items)
    items.close()
    assert read == [0, 1]


def test_what_was_given_out_is_not_held():
    items = read_ahead(lambda item: np.zeros(item), [3, 4])
    _, value = next(items)
    held = weakref.ref(value)
    del value
    gc.collect()
    assert held() is None
