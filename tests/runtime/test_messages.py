"""What processes tell each other: few messages, none of them too large for many processes."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from fsjax.runtime import parallel


@pytest.mark.parametrize(("processes", "numbers", "messages"), [(2, 1_000_000, 4), (32, 600_000, 3), (1000, 20_000, 3)])
def test_a_message_of_all_processes_has_at_most_64_mib(monkeypatch, processes, numbers, messages):
    sent = []

    def gather(message):
        sent.append(message.nbytes * processes)
        return np.broadcast_to(message, (processes, len(message)))

    monkeypatch.setattr(jax, "process_count", lambda: processes)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    values = np.arange(numbers, dtype=float)
    np.testing.assert_array_equal(parallel.total(values), processes * values)
    assert len(sent) == messages and max(sent) <= 64 * 2**20


def test_a_merged_value_is_that_of_the_process_which_has_it(monkeypatch):
    gathered = np.array([[1, np.nan, np.nan, np.nan], [np.nan, np.nan, 3, np.nan], [np.nan, 2, np.nan, np.nan]])
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda message: gathered.view(np.uint32))
    np.testing.assert_array_equal(parallel.merge(gathered[0]), [1, 2, 3, np.nan])
