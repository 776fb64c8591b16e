"""Searches for dominant frequency maps: a method is one file and one line of SEARCHES."""

from ml_collections import ConfigDict

from fsjax.errors import InputError
from fsjax.search import published, removal
from fsjax.search.problem import PRECISIONS, Problem

__all__ = ["SEARCHES", "Problem", "check"]

SEARCHES = {"removal": removal.search, "removal_compat": published.search}


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raises InputError for a field of config.search that cannot be used on this plane."""
    if options.method not in SEARCHES:
        raise InputError(f"search.method: unknown method {options.method!r}; accepted: {', '.join(sorted(SEARCHES))}")
    if options.split not in ("train", "test"):
        raise InputError(f"search.split: {options.split!r} is unknown; accepted: train, test")
    if options.precision not in PRECISIONS:
        raise InputError(f"search.precision: {options.precision!r} is unknown; accepted: {', '.join(PRECISIONS)}")
    if options.agreement_masks < 2:
        raise InputError(f"search.agreement_masks: {options.agreement_masks}; accepted: 2 or more")
    if options.images_per_class < 0:
        raise InputError(f"search.images_per_class: {options.images_per_class}; accepted: 0 (all) or more")
    if not options.shares:
        raise InputError("search.shares: empty; accepted: one or more numbers in (0, 1]")
    for share in options.shares:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(f"search.shares: {share!r} is not a share of the plane; accepted: numbers in (0, 1]")
    divisors = [side for side in range(1, min(plane) + 1) if not any(length % side for length in plane)]
    if options.patch not in divisors:
        size = f"{plane[0]}" if plane[0] == plane[1] else f"{plane[0]} x {plane[1]}"
        raise InputError(
            f"search.patch: {options.patch} does not divide the image size {size}; "
            f"accepted: {', '.join(map(str, divisors))}"
        )
