"""No two uses of random numbers draw the same ones."""

import itertools

from fsjax.runtime.random_streams import Stream, generator


def test_no_two_streams_are_one_whatever_their_keys():
    """A zero at the end, which NumPy's own lists drop, counts like any other key."""
    keys = [(), (2**32 - 1,)]
    for count, repeat in ((4, 1), (3, 2), (2, 3), (2, 4)):
        keys += itertools.product(range(count), repeat=repeat)
    seeds = (0, 1, 2, 2**32, 2**63)
    draws = [
        tuple(generator(seed, stream, *key).integers(2**63, size=2).tolist())
        for stream, seed, key in itertools.product(Stream, seeds, keys)
    ]
    assert len(set(draws)) == len(draws) == len(Stream) * len(seeds) * len(keys)


def test_streams_stay_what_they_are():
    """Results depend on these numbers."""
    assert generator(0, Stream.CHOSEN_IMAGES, 3).integers(2**32, size=2).tolist() == [2236092445, 2867517973]
    learned = generator(2**40, Stream.LEARNED_IMAGES, 1, 2, 3)
    assert learned.integers(2**32, size=2).tolist() == [923540435, 1376607581]
