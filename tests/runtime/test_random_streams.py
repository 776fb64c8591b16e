"""No two uses of random numbers draw the same ones."""

import itertools

import pytest

from fsjax.runtime.random_streams import Stream, generator


def test_no_two_streams_are_one_whatever_their_keys():
    """A zero at the end, which NumPy's own lists drop, is a key like any other."""
    keys = [
        *itertools.product(range(4)),
        *itertools.product(range(3), repeat=2),
        *itertools.product(range(2), repeat=3),
        *itertools.product(range(2), repeat=4),
        (),
        (2**32,),
        (2**40, 1),
    ]
    seeds = (0, 1, 2, 2**32, 2**63)
    draws = [
        tuple(generator(seed, stream, *of_stream).integers(2**63, size=2).tolist())
        for stream in Stream
        for seed in seeds
        for of_stream in keys
    ]
    assert len(set(draws)) == len(draws) == len(Stream) * len(seeds) * len(keys)


def test_streams_stay_what_they_are():
    """The numbers of today, which are part of every result."""
    assert generator(0, Stream.CHOSEN_IMAGES, 3).integers(2**32, size=2).tolist() == [3925889911, 1314336704]
    of_image = generator(2**40, Stream.LEARNED_IMAGES, 1, 2, 3)
    assert of_image.integers(2**32, size=2).tolist() == [149523876, 4242530533]


def test_more_keys_than_there_is_room_for_are_an_error():
    with pytest.raises(ValueError, match="keys: got 5; expected 4 or fewer"):
        generator(0, Stream.BOOTSTRAP, 1, 2, 3, 4, 5)
