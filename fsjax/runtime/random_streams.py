"""Random streams: each use of random numbers has a stream, so that no two uses draw the same numbers."""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """What random numbers are drawn for. Results depend on the numbers, so they never change."""

    CHOSEN_IMAGES = 1  # keys: class
    RANDOM_CONTROLS = 2  # index of the mask
    RADIAL_CONTROLS = 3  # class
    HEAT_MAP_PARTS = 4
    HEAT_MAP_SIGNS = 5
    BOOTSTRAP = 6  # class
    PRECISION_CHECK = 7  # number of masks
    HIERARCHICAL_CANDIDATE = 10  # stage, index
    HIERARCHICAL_PARENT = 11  # stage, index
    HIERARCHICAL_TRIM = 12  # class
    HIERARCHICAL_REGRESSION = 13
    LEARNED_IMAGES = 14  # class, restart, epoch
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
    VALIDATION_SPLIT = 27
    EPOCH_ORDER = 28  # epoch
    HOST_AUGMENTATION = 29  # epoch, index of the image
    SYNTHETIC_ORBITS = 30
    SYNTHETIC_IMAGES = 31  # whether of the test split, class
    SYN_ORBITS = 32
    SYN_IMAGES = 33  # whether of the test split, class
    BIASED_ORBITS = 34
    BIASED_IMAGES = 35  # whether of the test split, class
    TRIGGER_IMAGES = 36
    TRIGGER_PHASES = 37
    RATE_POOL = 38
    DEMO_IMAGES = 39  # whether of the test split, class

    # Training folds these into an image's JAX key. Augmentations fold in 0, 1, ..., far below.
    DFMX = 2**31 + 1
    GRAFTED_IMAGES = 2**31 + 2
    AMPLITUDE_SWAP = 2**31 + 3
    ORBIT_DROPOUT = 2**31 + 4  # this and the next two: benchmarks/ways
    AFA = 2**31 + 5
    AMPLITUDE_DROPOUT = 2**31 + 6
    OPERATIONS = 2**31 + 7


# JAX's keys take the lowest 32 bits of a seed.
SEEDS = "[0, 4294967295]"


def generator(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """Return NumPy's generator of a stream; the keys, such as a class, are below 2^32."""
    return np.random.default_rng(seed_sequence(seed, stream, *keys))


def seed_sequence(seed: int, stream: Stream, *keys: int) -> np.random.SeedSequence:
    """Return the seed sequence of a stream, from which other libraries' seeds are drawn."""
    return np.random.SeedSequence(seed % 2**64, spawn_key=(int(stream), *map(int, keys)))
