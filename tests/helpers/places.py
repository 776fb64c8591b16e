"""Where files of a test lie: in a store, or on a disk that is nearly full."""

import contextlib
import resource
import uuid

from fsjax.runtime import storage


def store():
    """A folder of its own in a store."""
    return storage.path(f"memory://{uuid.uuid4().hex}")


@contextlib.contextmanager
def full_disk(size):
    """Files cannot grow beyond this many bytes inside, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
