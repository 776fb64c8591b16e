"""The preset of a first look: its patches, its share, and the fields that it leaves alone."""

import pytest

from configs import common
from fsjax import search
from fsjax.evaluation import first_look
from fsjax.runtime import config_fields
from fsjax.search import patch_maps


@pytest.mark.parametrize(
    ("plane", "patch"),
    [
        *(((32, 32), 2), ((28, 28), 2), ((36, 36), 3), ((64, 64), 4), ((224, 224), 14), ((299, 299), 23)),
        *(((28, 40), 2), ((8, 8), 1)),
        # 17 patches a side, where the next divisor leaves two, and a prime, which only patches of 1 divide.
        *(((34, 34), 2), ((331, 331), 1)),
    ],
)
def test_a_plane_has_at_most_16_patches_a_side_where_its_size_allows_8_or_more(plane, patch):
    assert patch_maps.side_for(plane, 16) == patch


def test_every_size_has_a_share_with_room_for_a_patch():
    for size in range(4, 257):
        config = common.base()
        first_look.apply(config, (size, size), (), "again")
        search.check(config.search, (size, size))
        (share,) = config.search.shares
        assert share == config.report.share and (share == 0.05 or size < 9)


def test_given_fields_win_and_the_others_are_the_preset_s():
    config, before = common.base(), common.base()
    given = {"search.method": "removal", "search.patch": 8, "evaluate.pairs": 7, "search.graft.steps": 3}
    config.update_from_flattened_dict(given)
    first_look.apply(config, (32, 32), given, "again")
    changed = {name for name, value in config_fields.flat(config) if value != dict(config_fields.flat(before))[name]}
    assert {name: dict(config_fields.flat(config))[name] for name in given} == given
    assert changed - set(given) <= {*first_look.PRESET, "report.first_look"}
    # Of 32 x 32 frequencies a patch of 8 x 8 and its conjugate are an eighth.
    assert config.search.shares == (0.125,) == (config.report.share,)
    config.search.shares = (0.1, 0.2)
    first_look.apply(config, (32, 32), {*given, "search.shares"}, "again")
    assert config.search.shares == (0.1, 0.2) and config.report.share == 0.1
