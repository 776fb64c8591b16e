"""The gallery: its pictures are grafts, made as NumPy makes them, and its words what the model says of them."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from configs import common
from fsjax.data import selection
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.fourier import dfm, masks, spectrum
from fsjax.report.graft_gallery import gallery
from tests.helpers import results

NAMES, SIDE, EACH = ("ox", "zebra", "frog"), 9, 5
OUTPUTS = (*NAMES, "output 3")
MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])


class Noise:
    """A source of random images, EACH of every class."""

    classes, planted = NAMES, None
    labels = np.repeat(np.arange(len(NAMES)), EACH).astype(np.int32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        # In the middle of the range, where no graft leaves it.
        return np.random.default_rng(index).integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)


@pytest.fixture
def world():
    """(config, maps at 5 and 20 %, grafts, classifier of one more output, its weights, test images, rows)."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(NAMES), SIDE, SIDE)).astype(np.float32)
    maps = dfm.from_scores(
        scores + spectrum.conjugate(scores),
        (0.05, 0.2),
        classes=NAMES,
        method="removal",
        searched_on="train",
        images=np.full(len(NAMES), 5),
        forward_equivalents=1,
        provenance={},
    )
    grafts = results.grafts(NAMES, ("shortcut", "spread", "band"), share=0.2, pairs=30, grafted=[0.75, 0.5, 0.25])
    weights = rng.normal(size=(SIDE * SIDE * 3, len(NAMES) + 1)).astype(np.float32) / 8
    model = Model(
        lambda params, images: images.reshape(len(images), -1) @ params, weights, (SIDE, SIDE, 3), NAMES, (MEAN, STD)
    )
    rows = [{"label": label, "name": name, "at": (0.05, 0.1, 0.2)[label]} for label, name in enumerate(NAMES)]
    test = Dataset(Noise(), SIDE)
    return common.base(), maps, grafts, model, weights, test, rows


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), float)


def test_a_pair_is_shown_with_what_is_grafted_and_with_what_the_model_says(world):
    config, maps, grafts, classifier, weights, test, rows = world
    found = gallery(config, maps, grafts, classifier, test, rows)
    assert [row["name"] for row in found] == list(NAMES)
    for label, row in enumerate(found):
        drawn = selection.draw_pairs(
            selection.images_by_class(test.labels, np.arange(len(test))), label, 30, config.seed
        )
        mask = np.fft.ifftshift(masks.within_share(maps.scores[label], row["at"]))[..., None]
        assert len(row["pairs"]) == 2
        for index, shown in enumerate(row["pairs"]):
            recipient, donor = (test[images[index]] / 255.0 for images in (drawn.recipients, drawn.donors))
            spectra = [np.fft.fft2(image, axes=(0, 1)) for image in (recipient, donor)]
            grafted = np.fft.ifft2((1 - mask) * spectra[0] + mask * spectra[1], axes=(0, 1)).real
            change = grafted - recipient
            stretched = (change - change.min()) / (change.max() - change.min())
            expected = [recipient, donor, stretched, grafted]
            for image, picture in zip(expected, shown, strict=True):
                assert np.abs(pixels(picture["picture"]) - 255 * image).max() <= 0.51
            other = test.labels[drawn.recipients[index]]
            for image, picture, left_out in (
                (recipient, shown[0], other),
                (donor, shown[1], None),
                (grafted, shown[3], other),
            ):
                logits = ((image - MEAN) / STD).reshape(-1) @ weights.astype(float)
                said = [(np.exp(logits) / np.exp(logits).sum()), np.exp(logits)]
                said[1][[] if left_out is None else left_out] = 0
                plain, counted = (f"{OUTPUTS[rates.argmax()]} {rates.max() / rates.sum():.2f}" for rates in said)
                assert picture["said"] == plain and picture["hit"] == (said[1].argmax() == label)
                assert picture["otherwise"] == ("" if left_out is None else f"if not {NAMES[left_out]}: {counted}")
            assert not shown[2]["said"] and not shown[2]["hit"]
            assert shown[0]["title"] == f"image of {NAMES[other]}"


def test_what_grafts_do_is_said_of_all_pairs(world):
    config, maps, grafts, classifier, _, test, rows = world
    _, zebra, _ = gallery(config, maps, grafts, classifier, test, rows)
    assert zebra["moved"] == (
        "Over 30 pairs: 50 % of others' images are called zebra with the graft, 10 % without, "
        "where their own class is left out."
    )


def test_of_two_outputs_none_is_left_out(world):
    config, maps, grafts, classifier, weights, test, rows = world
    two = dataclasses.replace(classifier, params=weights[:, :2])
    test.labels[:] = np.minimum(test.labels, 1)
    ox, _ = gallery(config, maps, grafts, two, test, rows[:2])
    assert ox["moved"].endswith("10 % without.") and not any(image["otherwise"] for image in ox["pairs"][0])


def test_classes_without_pairs_and_images_that_may_have_been_searched_are_not_shown(world):
    config, maps, grafts, classifier, _, test, rows = world
    grafts.baseline.pairs[1] = 0
    assert [row["name"] for row in gallery(config, maps, grafts, classifier, test, rows)] == ["ox", "frog"]
    unknown = dfm.dataclasses.replace(maps, searched_on="test", method="imported")
    assert gallery(config, unknown, grafts, classifier, test, rows) == []
