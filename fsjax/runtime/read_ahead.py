"""Read the next thing in a thread while the last one is used, such as the images of the next class."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[tuple[Item, Read]]:
    """Yield each item, in order, and what `read` returns of it, or raise what that raises when it is its turn.

    Not more than one item is read ahead. One that is being read when the iterator is closed is read to its end.

    Examples:
      >>> list(read_ahead(len, ["a", "bc"]))
      [('a', 1), ('bc', 2)]
    """
    with ThreadPoolExecutor(1, "fsjax-read-ahead") as thread:
        futures = ((item, thread.submit(read, item)) for item in items)
        following = next(futures, None)
        while following is not None:
            item, future = following
            results = [future.result()]
            del future
            following = next(futures, None)  # starts to read it
            yield item, results.pop()  # which may be large, and is not held here while it is used
