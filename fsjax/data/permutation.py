"""The order of an epoch, at many of its places at once: the permutation of Grain's `index_shuffle` with four rounds.

A place is enciphered by a small block cipher (rounds of Simon; Beaulieu et al. 2013) of about as many bits as the set
needs, again and again until it is in the set (Black and Rogaway 2002). Grain takes 16 us for a place, and 75 in a set
of a thousand images; a prepared image of 224 pixels is read in 50.

It is Grain's, so that trainings go on in the order in which they began, but for sets of 2^16 + 1, 2^18 + 1, ... images:
of those Grain leaves one out and takes another twice.
"""

import functools

import numpy as np
from jaxtyping import Int

_ROUNDS = 4
_LEAST_BITS = 8  # of half a block
_MOST_BITS = 11  # of sets whose whole order is kept: 4 million images


def permuted(places: Int[np.ndarray, " n"], images: int, seed: int) -> Int[np.ndarray, " n"]:
    """Return which image is at each place of the order that a seed gives.

    Args:
      places: in [0, images).
      images: of the set.
      seed: in [0, 2^32).

    Examples:
      >>> permuted(np.arange(5), 5, 1).tolist()
      [1, 2, 3, 0, 4]
    """
    bits = max(_LEAST_BITS, -(-(images - 1).bit_length() // 2))
    if bits <= _MOST_BITS:
        return _order(images, seed, bits)[places]
    keys = round_keys(seed)
    found = _encipher(places.astype(np.int64), keys, bits)
    while len(outside := np.flatnonzero(found >= images)):
        found[outside] = _encipher(found[outside], keys, bits)
    return found


@functools.lru_cache(maxsize=4)  # batches of two readers lie in few epochs, which follow each other
def _order(images: int, seed: int, bits: int) -> Int[np.ndarray, " images"]:
    """Return the whole order of a set that may be much smaller than a block: of two images, one in 32,768 is inside."""
    following = _encipher(np.arange(4**bits), round_keys(seed), bits)
    while (following[:images] >= images).any():  # twice as far each time
        following = np.where(following >= images, following[following], following)
    return following[:images].copy()  # not the rest


def _encipher(blocks: np.ndarray, keys: list[int], bits: int) -> np.ndarray:
    mask = 2**bits - 1
    keys = [key & mask for key in keys]

    def rotated(half: np.ndarray, by: int) -> np.ndarray:
        return (half << by | half >> bits - by) & mask

    def mixed(half: np.ndarray) -> np.ndarray:
        return rotated(half, 1) & rotated(half, 8) ^ rotated(half, 2)

    left, right = blocks >> bits, blocks & mask
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        left = left ^ mixed(right) ^ first
        right = right ^ mixed(left) ^ second
    return left << bits | right


def round_keys(seed: int) -> list[int]:
    """Return the four numbers of 32 bits that C++'s std::seed_seq generates from one."""
    count, word = _ROUNDS, 2**32 - 1
    shift = (count - 1) // 2
    ahead, beyond = (count - shift) // 2, (count - shift) // 2 + shift
    keys = [0x8B8B8B8B] * count

    def stirred(number: int) -> int:
        number &= word
        return number ^ number >> 27

    for k in range(2 * count):
        at, near, far, before = (place % count for place in (k, k + ahead, k + beyond, k - 1))
        if k < count:
            one = 1664525 * stirred(keys[at] ^ keys[near] ^ keys[before]) & word
            two = one + (1 if k == 0 else at + seed if k == 1 else at) & word
            keys[near] = keys[near] + one & word
            keys[far] = keys[far] + two & word
        else:
            one = 1566083941 * stirred(keys[at] + keys[near] + keys[before]) & word
            two = one - at & word
            keys[near] ^= one
            keys[far] ^= two
        keys[at] = two
    return keys
