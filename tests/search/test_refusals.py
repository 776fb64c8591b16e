"""Fields and models that a search cannot use are named, before anything is computed where that is known."""

import re

import numpy as np
import pytest

from fsjax import search
from tests.helpers.refused import refused
from tests.helpers.search_problem import make_problem


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
    np.save(tmp_path / "infinite.npy", np.full((8, 8), np.inf))
    for name, found in {**unusable, "infinite.npy": "an array of 8 x 8"}.items():
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
