"""Values of a way's fields that cannot be used, and the order of ways."""

import pytest

from configs import common
from fsjax.runtime.errors import InputError
from fsjax.training import ways


@pytest.mark.parametrize(
    ("way", "field", "value", "expected"),
    [
        ("afa", "mean_strength", 0.0, "above 0"),
        ("amplitude_dropout", "threshold", float("nan"), "above 0"),
        ("amplitude_dropout", "threshold", float("inf"), "above 0"),
        ("amplitude_swap", "probability", 1.5, "0 to 1"),
        ("dfmx", "probability", float("nan"), "0 to 1"),
        ("dfmx", "share", 1.5, "0 to 1"),
        ("graft", "share", -0.5, "0 to 1"),
        ("orbit_dropout", "probability", -0.1, "0 to 1"),
        ("orbit_dropout", "share", 1.1, "0 to 1"),
    ],
)
def test_values_that_cannot_be_used_are_refused(way, field, value, expected):
    config = common.base().train
    config.ways, config[way][field] = way, value
    with pytest.raises(InputError, match=rf"^train\.{way}\.{field}: got {value:g}; expected {expected}$"):
        ways.check(config, 16)
