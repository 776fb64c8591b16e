"""How often the gate refuses a clean network: which images judge it, and what is counted."""

import dataclasses
import types

import numpy as np
import pytest

from benchmarks.planted import false_failures, verdict_networks
from fsjax.engine.model import Model
from tests.helpers import results
from tests.helpers.data_config import save_images


@pytest.fixture
def root(tmp_path):
    """Five classes whose photographs are of one grey level: training 10 + class, test 110 + class."""
    for split, grey in (("train", 10), ("test", 110)):
        for label in range(5):
            images = [np.full((8, 8, 3), grey + 20 * index + label, np.uint8) for index in range(3)]
            save_images(tmp_path / split / f"c{label}", images)
    return str(tmp_path)


def test_a_row_has_what_check_refuses_from_training_images_searched_and_all_test_photographs_judged(monkeypatch, root):
    seen = {}

    def load(cache, seed, roots, kinds):
        network = verdict_networks.network(seed, roots, cache, kinds)
        always_first = Model(lambda params, images: np.eye(len(kinds))[[0] * len(images)], None, (32, 32, 3))
        return dataclasses.replace(network, model=always_first)

    def analyse(model, *, train, test, classes, seed):
        seen.update(train=train, test=test, classes=classes)
        grafts = results.grafts(classes, ["shortcut by phase", *["spread"] * (len(classes) - 1)])
        evaluated = types.SimpleNamespace(methods={"graft": types.SimpleNamespace(grafts=grafts)}, triggers=None)
        told = {"method": "graft", "evaluation": evaluated, "verdicts": grafts.verdicts}
        return types.SimpleNamespace(**told, check=lambda: grafts.verdicts[:1])

    monkeypatch.setattr(verdict_networks, "load_or_train", load)
    monkeypatch.setattr(false_failures.fsjax, "analyse", analyse)
    (row,) = false_failures.rows(3, "", [root])
    count = len(seen["classes"])
    assert row["refused"] == seen["classes"][:1] and row["accuracy"] == pytest.approx(1 / count)
    assert [each["kind"] for each in row["verdicts"]] == ["shortcut", *["spread"] * (count - 1)]
    for split, per_class in (("train", 100), ("test", 150)):
        images, labels = seen[split]
        assert np.array_equal(np.bincount(labels), [per_class] * count)
        assert all(len(np.unique(images[labels == label, 0, 0, 0])) == 3 for label in range(count)), "each photograph"
    assert seen["train"][0].max() < seen["test"][0].min()
