"""A training that continues another run's last step equals the uninterrupted training."""

import pytest

from fsjax.runtime.checkpoints import Checkpoints
from tests.helpers.refused import refused
from tests.helpers.small_run import assert_same_bits, final_variables, losses_of, train, training_config

FIELDS = {"train__ways": "graft", "train__graft__maps": "low:0.2", "train__warmup_steps": 2}


def part(until, start="", **fields):
    return training_config(**FIELDS | {"train__until": until, "train__graft__start": str(start)} | fields)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The workdirs of a whole training and of its first half."""
    root = tmp_path_factory.mktemp("runs")
    train(part(1.0), root / "whole")
    train(part(0.5), root / "half")
    return root


def test_two_halves_are_the_whole_bit_for_bit_and_a_part_without_a_further_step_saves_what_it_continues(runs, tmp_path):
    """On a cosine with Adam, whose state and schedule a fresh start would lose."""
    second = train(part(1.0, runs / "half"), tmp_path / "second")
    assert_same_bits(second, final_variables(part(1.0), runs / "whole"))
    losses = losses_of(runs / "half"), losses_of(tmp_path / "second")
    assert [sorted(steps) for steps in losses] == [[1, 2, 3], [4, 5, 6]]
    assert losses[0] | losses[1] == losses_of(runs / "whole")
    assert_same_bits(train(part(0.55, runs / "half"), tmp_path), final_variables(part(0.5), runs / "half"))
    assert Checkpoints(tmp_path / "checkpoints").newest() == 3


def test_a_run_that_cannot_be_continued_is_refused_in_one_line(runs, tmp_path):
    for config, message in (
        (part(0.5, runs / "whole"), "whole was trained for 6 steps; expected 1 to 3, the steps of this training"),
        (part(1.0, runs / "whole", train__optimizer="sgd"), "got .*whole; expected a run of the same model"),
        (part(1.0, runs / "whole", model__name="vit_micro_patch8"), "got .*whole; expected a run of the same model"),
    ):
        refused(rf"^train.graft.start: .*{message}", train, config, tmp_path / "refused")
        assert Checkpoints(tmp_path / "refused" / "checkpoints").newest() is None
