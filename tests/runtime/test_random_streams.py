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


def test_the_same_stream_is_drawn_again():
    """A number of today: the streams are part of every result."""
    first, again = (generator(3, Stream.BOOTSTRAP, 5).integers(10**9) for _ in range(2))
    assert first == again


def test_more_keys_than_there_is_room_for_are_an_error():
    with pytest.raises(ValueError, match="keys: got 5; expected 4 or fewer"):
        generator(0, Stream.BOOTSTRAP, 1, 2, 3, 4, 5)
