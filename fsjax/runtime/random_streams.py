"""Random streams: every use of random numbers has its own, so that no two draw the same ones.

A seed and a list of numbers is not enough: NumPy fills short lists with zeros, so [5, 6] and [5, 6, 0] are one stream.
Here a stream's entropy always has the same length.

Data sets keep their own short lists, [seed, 7] and the like (fsjax/data): the images of finished runs rest on them.
"""

import enum

import numpy as np

# Keys of a stream at most.
_KEYS = 4


class Stream(enum.IntEnum):
    """What random numbers are drawn for; the numbers are part of all results and never change."""

    CHOSEN_IMAGES = 1  # keys: class
    RANDOM_CONTROLS = 2  # index of the mask
    RADIAL_CONTROLS = 3  # class
    HEAT_MAP_PARTS = 4
    HEAT_MAP_SIGNS = 5
    BOOTSTRAP = 6  # class
    PRECISION_CHECK = 7  # number of masks
    ADAPTIVE_EXACT_SAMPLE = 8
    ADAPTIVE_IMAGE_ORDER = 9  # class
    HIERARCHICAL_CANDIDATE = 10  # stage, index
    HIERARCHICAL_PARENT = 11  # stage, index
    HIERARCHICAL_TRIM = 12  # class
    HIERARCHICAL_REGRESSION = 13
    LEARNED_IMAGES = 14  # class, restart, epoch
    LEARNED_OTHERS = 15  # class, restart, epoch
    LEARNED_INITIAL_SCORES = 16  # class
    LEARNED_RANDOM_MASK = 17  # class, index of the share
    MASK_SELECTION_OTHERS = 18
    MASK_SELECTION_IMAGES = 19  # class
    RANK_CORRELATION = 20
    GRAFT_DONORS = 21  # class
    GRAFT_RECIPIENTS = 22  # class
    GRAFT_CONTROLS = 23  # class, number of positions, index
    GRAFT_RESAMPLES = 24
    ATTRIBUTION_ORDER = 25  # index of the image
    CORRUPTIONS = 26  # corruption, severity, index of the image


def generator(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """Return the generator of a stream; `seed` and the keys, at most 4 such as a class, are from 0 to 2^64 - 1."""
    if len(keys) > _KEYS:
        raise ValueError(f"keys: got {len(keys)}; expected {_KEYS} or fewer")
    padded = [*keys, *[0] * (_KEYS - len(keys))]
    # 64-bit numbers, each as two words: a number below 2^32 would otherwise be one word, and a larger one two.
    entropy = np.array([stream, len(keys), seed, *padded], np.uint64).view(np.uint32)
    return np.random.default_rng(np.random.SeedSequence(entropy.tolist()))
