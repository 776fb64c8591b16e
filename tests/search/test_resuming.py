"""Searches that are stopped, damaged or moved to other devices end with the bits of an uninterrupted search."""

import dataclasses
import json

import numpy as np
import pytest

from fsjax import search
from fsjax.engine import tile_size
from fsjax.runtime.metrics import Metrics
from fsjax.search import graft, removal
from tests.helpers.refused import refused
from tests.helpers.search_problem import Stopped, make_problem, on_devices, stop_after

ORDER = np.maximum(np.random.default_rng(0).integers(-15, 30, (8, 8)), 0).astype(float)
LEARNED = {"counts": (9, 5, 12), "steps": 8, "batch": 5, "judged": 7, "restarts": 1, "shares": (0.1, 0.3)}
# Name -> fields of the problem, and the counts of work after which a search is stopped.
CASES = {
    "removal": ({"resamples": 3}, (1, 4)),
    "removal compat": ({"compat": True}, (4,)),
    "graft": ({"counts": (4, 3, 5), "plane": (6, 6), "shares": (0.1,), "paths": 7, "steps": 3, "resamples": 3}, (1, 3)),
    "greedy": ({"counts": (9, 5, 12), "shares": (0.2, 1.0), "tolerance": 0.1, "save_seconds": 1000.0}, (1, 17)),
    "greedy compat": ({"counts": (9, 5, 12), "shares": (0.2, 1.0), "tolerance": 1.0, "compat": True}, (9,)),
    "hierarchical": ({"candidates": "12,15", "keep": 3, "shares": (0.1, 1.0)}, (1, 5)),
    "learned": (LEARNED, (1, 12)),
}


def small_pieces(monkeypatch, restart):
    """Sizes and devices that a search would choose at this restart, were it the first start."""
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 6 * (1 + restart))
    monkeypatch.setattr(graft, "batch_size", lambda problem, **_: 4 + restart)
    on_devices(monkeypatch, 1 + restart)


def problem_of(case, directory, **changes):
    fields = CASES[case][0] | changes
    if case == "greedy compat":
        np.save(directory.parent / "order.npy", ORDER)
        fields["order"] = str(directory.parent / "order.npy")
    return make_problem(directory, case.split()[0], **fields)


def layouts(directory):
    return {str(file.relative_to(directory)): json.loads(file.read_text()) for file in directory.rglob("layout.json")}


def work(seen):
    return sum(units for units, *_ in seen)


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_search_goes_on_with_the_same_arithmetic_on_other_devices(tmp_path, monkeypatch, case):
    with monkeypatch.context() as patch:
        small_pieces(patch, 0)
        expected_work = stop_after(patch, np.inf)
        expected = search.run(problem_of(case, tmp_path / "whole"))
    done, limits = [], (*CASES[case][1], np.inf, np.inf)
    for restart, limit in enumerate(limits):
        with monkeypatch.context() as patch:
            small_pieces(patch, restart)
            seen = stop_after(patch, limit)
            if restart < len(limits) - 2:
                with pytest.raises(Stopped):
                    search.run(problem_of(case, tmp_path / "stopped"))
            else:
                found = search.run(problem_of(case, tmp_path / "stopped"))
        done.append(work(seen))
    assert all(done[:-1]) and not done[-1], "the last run only reads what is finished"
    assert sum(done) == work(expected_work)
    np.testing.assert_array_equal(found.masks, expected.masks)
    if expected.scores is not None:
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.provenance == expected.provenance, "resamples and losses too"
    if case != "learned":  # whose three parts may begin at three starts
        assert layouts(tmp_path / "stopped") == layouts(tmp_path / "whole")


@pytest.mark.parametrize(
    ("case", "fields", "changes", "message"),
    [
        ("removal", {}, {"seed": 1}, "another model; delete the folder to search again"),
        ("removal", {}, {"identity": "other images"}, "another search; delete the folder to search again"),
        ("learned", {"steps": 1}, {"shares": (0.2,)}, "another search"),
        ("hierarchical", {}, {"draws": 1}, "search/stage1: partial results of another search"),
        ("hierarchical", {}, {"keep": 2}, "search/stage2: partial results of another search"),
        ("hierarchical", {}, {"shares": (0.05,)}, "search/stage3: partial results of another search"),
    ],
)
def test_partial_results_of_another_search_are_refused(tmp_path, case, fields, changes, message):
    identity = changes.pop("identity", "")
    search.run(problem_of(case, tmp_path, **fields))
    problem = problem_of(case, tmp_path, **fields | changes)
    refused(message, search.run, dataclasses.replace(problem, identity=identity))


def test_an_order_of_other_content_under_the_same_name_is_another_search(tmp_path, monkeypatch):
    search.run(problem_of("greedy compat", tmp_path / "run"))
    monkeypatch.setattr(f"{__name__}.ORDER", np.roll(ORDER, 1))
    refused("partial results of another search", search.run, problem_of("greedy compat", tmp_path / "run"))


def test_rates_are_written_as_numbers(tmp_path, monkeypatch):
    small_pieces(monkeypatch, 0)
    with Metrics(tmp_path) as metrics:
        removal.search(dataclasses.replace(make_problem(tmp_path), metrics=metrics))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3 * 35 and lines[-1]["eta_seconds"] == 0
    for line in lines:
        # Class a, the largest, has 5 images in batches of 6; no class has fewer than 3.
        assert 3 * line["masks_per_second"] <= line["images_per_second"] <= 6 * line["masks_per_second"] * 1.001
