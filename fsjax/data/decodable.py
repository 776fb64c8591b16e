"""The images of a set that decode, and what the log says of those that do not."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool

from fsjax.runtime import cores
from fsjax.runtime.errors import InputError

logger = logging.getLogger(__name__)

# Images that do not decode, named in the log.
_NAMED = 5


def find_decodable(decode: Callable[[int], object], names: Sequence[str], where: str) -> Bool[np.ndarray, " images"]:
    """Return which images decode, each tried once, and log how many do not and the first ones' names.

    Args:
      decode: index of an image -> the image; raises InputError for one that does not decode.
      names: what the log calls each image.
      where: what the log calls the set.
    """

    def decodes(index: int) -> bool:
        try:
            decode(index)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(cores.count()) as pool:
        good = np.fromiter(pool.map(decodes, range(len(names))), bool, len(names))
    bad = [names[index] for index in np.flatnonzero(~good).tolist()]
    if not bad:
        logger.info("%s: all %d images decode", where, len(names))
        return good
    named = f"{', '.join(bad[:_NAMED])}{', ...' if len(bad) > _NAMED else ''}"
    logger.info("%s: left out %d of %d images, which do not decode: %s", where, len(bad), len(names), named)
    return good
