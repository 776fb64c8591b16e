"""What is evaluated is split over two devices, unless a test asks for another number."""

import jax
import pytest

from fsjax.runtime import parallel


@pytest.fixture(scope="module", autouse=True)
def two_devices(one_device):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "local_devices", lambda: jax.local_devices()[:2])
        yield
