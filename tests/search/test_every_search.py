"""What holds for every search: planted orbits are found, what cannot be used is named, and a stop changes no bit."""

import dataclasses
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax import search
from fsjax.engine import tile_size
from fsjax.fourier import spectrum
from fsjax.runtime.metrics import Metrics
from fsjax.search import graft, removal
from tests.helpers.refused import refused
from tests.helpers.search_problem import Stopped, make_problem, on_devices, stop_after

ORBITS = spectrum.orbits(8, 8)
PLANTED = {
    "removal": {"resamples": 0},
    "graft": {"paths": 12, "steps": 4, "resamples": 0},
    "greedy": {"tolerance": 0.0},
    "hierarchical": {"candidates": "60,120", "keep": 10},
    "learned": {"steps": 60, "batch": 10, "judged": 20, "restarts": 1},
}


@pytest.mark.parametrize("method", PLANTED)
def test_orbits_that_work_only_together_are_found_together_and_alone(method):
    """A classifier reads two orbits, which identify the class only together."""
    members = ORBITS[[4 + 1, 4 - 3], [4 + 2, 4 + 1]].tolist()
    planes = jnp.asarray(np.stack([member == ORBITS for member in members]))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, planes)).mean((2, 3, 4))
        both = jnp.prod(energy / (energy + 0.005), axis=0)
        return jnp.stack([9 * both, 0.25 * 9 * jnp.ones_like(both)], axis=1)

    images = list(np.random.default_rng(4).normal(size=(2, 20, 8, 8, 3)).astype(np.float32))
    maps = search.run(make_problem(None, method, apply=apply, images=images, shares=(4 / 64,), **PLANTED[method]))
    assert set(ORBITS[maps.masks[0, 0]].tolist()) == set(members)
    assert method != "learned" or maps.provenance["chosen"][0] == ["learned"]


# Refusals, before anything is computed where that is known


@pytest.mark.parametrize(
    ("method", "name", "value", "message"),
    [
        ("hierarchical", "candidates", "10,10", "got '10,10'; expected 3 whole numbers, 1 or more, one for each"),
        ("hierarchical", "candidates", "4,x,4", "got '4,x,4'; expected 3 whole numbers"),
        ("hierarchical", "candidates", "10,0,10", "got '10,0,10'; expected"),
        ("greedy", "tolerance", 1.5, "got 1.5; expected a share in [0, 1)"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(method, name, value, message):
    options = search.options(method, **{name: value})
    refused(re.escape(f"search.{method}.{name}: {message}"), search.check, options, (16, 16))


def test_what_the_published_code_takes_is_taken_and_nothing_else(tmp_path):
    np.save(tmp_path / "order.npy", np.ones((8, 8)))
    fields = {"compat": True, "order": str(tmp_path / "order.npy")}
    search.check(search.options("greedy", tolerance=6.0, **fields), (8, 8))
    message = r"greedy.tolerance: .* a share in \[0, 1\) or a whole number of images"
    refused(message, search.check, search.options("greedy", tolerance=1.5, **fields), (8, 8))
    message = "search.removal.compat: got images of 4 x 6; expected square ones"
    refused(message, search.check, search.options(compat=True, shares=(0.5,)), (4, 6))


def test_a_published_order_that_cannot_be_used_is_named(tmp_path):
    unusable = {"missing.npy": "no such file", "missing.pkl": "no ", "folder.pkl": "", "text.pkl": ""}
    (tmp_path / "folder.pkl").mkdir()
    (tmp_path / "text.pkl").write_text("order")
    for name, found in unusable.items():
        options = search.options("greedy", compat=True, order=str(tmp_path / name))
        refused(rf"{name}: .*{found}", search.check, options, (8, 8))
    order = str(tmp_path / "order.npy")
    np.save(order, np.ones((4, 8)))
    for fields, plane, message in (
        ({"compat": True}, (8, 8), "got nothing; expected the file of the published order"),
        ({"order": order}, (4, 8), "got .*order.npy; expected no file without compat"),
        ({"order": order, "compat": True}, (8, 8), "got .*order.npy of 4 x 8; expected 8 x 8"),
    ):
        refused(rf"^search.greedy.order: {message}", search.check, search.options("greedy", **fields), plane)
    options = search.options("greedy", order=order, compat=True)
    search.check(options, (4, 8))
    assert search.selected(options).reads(options) == [tmp_path / "order.npy"]
    assert not search.selected(options).reads(search.options("greedy"))


@pytest.mark.parametrize(
    ("fields", "got"),
    [
        ({"counts": (3,)}, "graft with 1 classes, the smallest of 3 images; expected two or more classes of"),
        ({"counts": (3, 1)}, "graft with 2 classes, the smallest of 1 images; expected two or more classes"),
    ],
)
def test_too_few_classes_or_images_are_refused(fields, got):
    refused(f"got {got}", search.run, make_problem(None, "graft", **fields))


@pytest.mark.parametrize(
    ("method", "message"),
    [("removal", "loss on class 'b'"), ("graft", "loss or gradient"), ("learned", "gradient on class 'b'")],
)
def test_a_loss_or_a_gradient_that_is_not_finite_is_refused(method, message):
    images = [np.full((3, 8, 8, 3), value, np.float32) for value in (1, np.inf)]
    refused(f"the model returned a non-finite {message}", search.run, make_problem(None, method, images=images))


# Searches that are stopped, damaged or moved to other devices


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
