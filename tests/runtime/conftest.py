"""Tests of files run on a disk and in a store."""

import pytest

from tests.helpers.places import store


@pytest.fixture(params=["disk", "store"])
def place(request, tmp_path):
    return tmp_path / "run" if request.param == "disk" else store()
