"""A training that goes on from another run's last step is the one that was never cut."""

import numpy as np
import pytest

from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.training import settings
from tests.helpers.short_training import assert_same_bits, losses_of, make_config, run

FIELDS = {"train__ways": "graft", "train__graft__maps": "low:0.2", "train__warmup_steps": 2}


def part(until, start="", **fields):
    return make_config(**FIELDS | {"train__until": until, "train__graft__start": str(start)} | fields)


@pytest.mark.parametrize("fields", [{}, {"train__ema_decay": 0.7}, {"train__ways": "graft,afa"}], ids=str)
def test_parts_are_the_whole_bit_for_bit(tmp_path, fields):
    """On a cosine with Adam, whose state and schedule a fresh start would lose."""
    whole = run(make_config(**FIELDS | fields), tmp_path / "whole")
    run(part(0.5, **fields), tmp_path / "first")
    run(part(0.7, tmp_path / "first", **fields), tmp_path / "second")
    assert_same_bits(run(part(1.0, tmp_path / "second", **fields), tmp_path / "third"), whole)
    steps = {name: sorted(losses_of(tmp_path / name)) for name in ("first", "second", "third")}
    assert steps == {"first": [1, 2, 3], "second": [4], "third": [5, 6]}
    together = {step: loss for name in steps for step, loss in losses_of(tmp_path / name).items()}
    assert together == losses_of(tmp_path / "whole")


def test_a_part_without_a_step_of_its_own_leaves_what_it_goes_on_from(tmp_path):
    first = run(part(0.5), tmp_path / "first")
    assert_same_bits(run(part(0.55, tmp_path / "first"), tmp_path / "second"), first)
    assert Checkpoints(tmp_path / "second" / "checkpoints").newest() == 3


def test_what_cannot_be_gone_on_from_is_refused_in_one_line(tmp_path):
    run(part(1.0), tmp_path / "whole")
    for config, message in (
        (part(0.5, tmp_path / "whole"), "whole was trained for 6 steps; expected 1 to 3, the steps of this training"),
        (part(1.0, tmp_path / "whole", train__optimizer="sgd"), "got .*whole; expected a run of the same model"),
        (
            part(1.0, tmp_path / "whole", model__name="vit_micro_patch8"),
            "got .*whole; expected a run of the same model",
        ),
    ):
        with pytest.raises(InputError, match=rf"^train.graft.start: .*{message}") as caught:
            run(config, tmp_path / "refused")
        assert "\n" not in str(caught.value)
        assert Checkpoints(tmp_path / "refused" / "checkpoints").newest() is None


@pytest.mark.parametrize("until", [0.0, -0.5, 1.5, np.nan])
def test_a_share_is_above_0_and_up_to_1(until):
    with pytest.raises(InputError, match=r"^train.until: got .*; expected above 0, up to 1"):
        settings.check(part(until))
