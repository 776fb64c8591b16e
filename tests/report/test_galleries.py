"""Pictures of single images: grafts and smallest sets as NumPy makes them, with the model's predictions in words."""

import base64
import dataclasses
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fsjax
from configs import common
from fsjax.data import selection
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Triggers
from fsjax.fourier import masks, spectrum
from fsjax.report import html
from fsjax.report.explorer import Subject
from fsjax.report.galleries import attribution_section, graft_gallery
from tests.helpers import results
from tests.helpers.html_page import Page
from tests.helpers.linear_classifier import linear
from tests.helpers.plane import real, spectra

NAMES, SIDE, EACH = ("ox", "<zebra>", "frog"), 9, 5
OUTPUTS = (*NAMES, "output 3")
MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
DRAWN = np.random.default_rng(0).normal(size=(SIDE * SIDE, 3, len(OUTPUTS))).astype(np.float32) / 5
# Blind to the mean colour, by which all of these images differ most from the baseline.
WEIGHTS = (DRAWN - DRAWN.mean(0)).reshape(-1, len(OUTPUTS))


class Noise:
    """A source of random images, EACH of every class."""

    planted = None

    def __init__(self, classes=NAMES):
        self.classes = classes
        self.labels = np.repeat(np.arange(len(classes)), EACH).astype(np.int32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        # In the middle of the range, which neither a graft nor a part of an image leaves.
        return np.random.default_rng(int(index)).integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)


def make_model(weights=WEIGHTS, function=linear, classes=NAMES):
    return Model(function, weights, (SIDE, SIDE, 3), classes, (MEAN, STD))


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), float)


def words(odds, place=0):
    """The name and the probability of the first or a later output."""
    chosen = np.argsort(-odds)[place]
    return chosen, f"{OUTPUTS[chosen]} {odds[chosen] / odds.sum():.2f}"


@pytest.fixture
def subject(tmp_path):
    """Maps at 5 and 20 %, with grafts, of a classifier with one output more than classes."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(NAMES), SIDE, SIDE)).astype(np.float32)
    maps = results.maps(scores + spectrum.conjugate(scores), (0.05, 0.2), NAMES)
    grafts = results.grafts(NAMES, ("shortcut", "spread", "band"), share=0.2, pairs=30, grafted=[0.75, 0.5, 0.25])
    evaluation = results.evaluation(NAMES, {"removal": results.method({}, grafts=grafts)})
    weights = np.random.default_rng(3).normal(size=(SIDE * SIDE * 3, len(OUTPUTS))).astype(np.float32) / 8
    return Subject(common.base(), tmp_path, make_model(weights), maps, Dataset(Noise(), SIDE), evaluation)


AT = (0.05, 0.2)  # the slider's shares


def gallery(subject, count=3, kind="spread"):
    shares = (0.05, 0.1, 0.2)[:count]
    rows = [{"label": i, "name": NAMES[i], "at": share, "kind": kind} for i, share in enumerate(shares)]
    return graft_gallery(subject, subject.evaluated.grafts, rows, AT)


def grafted(images, mask):
    """Recipient and donor, with the frequencies of the centred mask from the donor."""
    recipient, donor = map(spectra, images)
    return real(np.where(mask[..., None], donor, recipient))


def test_a_graft_that_succeeds_and_one_that_fails_are_shown_with_what_the_model_predicts_at_every_share(subject):
    found, test = gallery(subject), subject.test
    weights, seconds = subject.model.params.astype(float), 0
    assert [row["name"] for row in found] == list(NAMES)

    def odds(image):
        return np.exp(((image - MEAN) / STD).reshape(-1) @ weights)

    def is_taken(image, own, label):
        first, second = np.argsort(-odds(image))[:2]
        return (second if first == own else first) == label

    for label, row in enumerate(found):
        drawn = selection.draw_pairs(
            selection.images_by_class(test.labels, np.arange(len(test))), label, 30, subject.config.seed
        )
        mask, expected = masks.within_share(subject.maps.scores[label], row["at"]), {}
        for recipient, donor in list(zip(drawn.recipients, drawn.donors, strict=True))[:16]:
            images, own = [test[recipient] / 255.0, test[donor] / 255.0], test.labels[recipient]
            if not is_taken(images[0], own, label):
                word = "succeeds" if is_taken(grafted(images, mask), own, label) else "fails"
                expected.setdefault(f"A graft that {word}", (images, own))
        assert {pair["title"]: None for pair in row["pairs"]}.keys() == expected.keys()
        for pair in row["pairs"]:
            images, own = expected[pair["title"]]
            result = grafted(images, mask)
            change = result - images[0]
            stretched = (change - change.min()) / (change.max() - change.min())
            for image, picture in zip([*images, stretched, result], pair["images"], strict=True):
                assert np.abs(pixels(picture["picture"]) - 255 * image).max() <= 0.51
            shown = pair["images"]
            for image, picture, left_out in (
                (images[0], shown[0], own),
                (images[1], shown[1], -1),
                (result, shown[3], own),
            ):
                (first, prediction), (second, further) = words(odds(image)), words(odds(image), 1)
                assert picture["prediction"] == prediction
                assert picture["second"] == (f"second choice: {further}" if first == left_out else "")
                counted, place = (second, "second") if first == left_out else (first, "prediction")
                assert picture["hit"] == (place if counted == label else "")
                seconds += first == left_out
            assert not shown[2]["prediction"] and not shown[2]["hit"]
            assert shown[0]["title"] == f"image of {NAMES[own]}"
            assert len(pair["answers"]) == len(AT)
            for share, answer in zip(AT, pair["answers"], strict=True):
                chances = odds(grafted(images, masks.within_share(subject.maps.scores[label], share)))
                (first, prediction), (second, further) = words(chances), words(chances, 1)
                said = (prediction, f"second choice: {further}" if first == own else "")
                assert (answer["prediction"], answer["second"]) == said
                assert bool(answer["hit"]) == ((second if first == own else first) == label)
        missing = {"A graft that succeeds", "A graft that fails"} - expected.keys()
        assert all(f"None of the first 16 {title.split()[-1]}." in row["moved"] for title in missing)
    assert seconds and sum(len(row["pairs"]) for row in found) > 3, "the comparison means something"
    assert found[1]["moved"].startswith(
        "Over 30 pairs: the model predicts <zebra> for 50 % of other classes' images with the graft, for 10 % without "
        "it, where their own class is left out."
    )


def test_a_trigger_is_shown_as_the_first_recipient_with_its_wave(subject):
    values = {name: np.full(3, 0.5) for name in ("frequency", "triggered", "elsewhere", "others")}
    at, limits = np.array([[2, 3]] * 3), np.full((3, 2), 0.5)
    triggers = Triggers("x", 0.4, at, triggered_ci=limits, images=np.full(3, 9), **values)
    shown = dataclasses.replace(subject, evaluation=dataclasses.replace(subject.evaluation, triggers=triggers))
    *_, wave_pair = gallery(shown, kind="trigger")[0]["pairs"]
    recipient, with_wave = wave_pair["images"]
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = 0.4 * np.cos(2 * np.pi * (-2 * y - x) / SIDE)  # of the row and column 2 and 3, DC at 4
    added = pixels(with_wave["picture"]) - pixels(recipient["picture"])
    assert np.abs(added - 255 * STD * wave[..., None]).max() <= 1.02
    assert with_wave["prediction"] and with_wave["title"] == "with the faint wave"


def test_of_two_outputs_none_is_left_out(subject):
    two = dataclasses.replace(subject, model=make_model(subject.model.params[:, :2]))
    two.test.labels[:] = np.minimum(two.test.labels, 1)
    found = gallery(two, 2)
    assert all("10 % without it." in row["moved"] for row in found)
    shown = [image for row in found for pair in row["pairs"] for image in pair["images"]]
    assert shown and not any(image["second"] for image in shown)
    # Where every image is taken for the class already, a graft shows nothing.
    always = np.zeros((SIDE * SIDE * 3, 2), np.float32)
    ox, _ = gallery(dataclasses.replace(two, model=make_model(always)), 2)
    assert not ox["pairs"] and ox["moved"].endswith("for the first 16 without a graft, too: none is shown.")


def test_classes_without_pairs_and_images_that_may_have_been_searched_are_not_shown(subject):
    subject.evaluated.grafts.baseline.pairs[1] = 0
    assert [row["name"] for row in gallery(subject)] == ["ox", "frog"]
    methods = {"imported": subject.evaluated}
    unknown = dataclasses.replace(
        subject,
        maps=dataclasses.replace(subject.maps, searched_on="test", method="imported"),
        evaluation=dataclasses.replace(subject.evaluation, methods=methods),
    )
    assert gallery(unknown) == []


def section(subject, model=None, labels=(0, 1, 2), attributions=2):
    model = model or make_model()
    subject.config.report.attributions = attributions
    test = Dataset(Noise(model.classes), SIDE)
    return attribution_section(dataclasses.replace(subject, model=model, test=test), list(labels))


@pytest.mark.usefixtures("undrawn")
def test_each_image_stands_with_its_smallest_set_that_set_alone_and_without_it(subject):
    body = section(subject).body
    chosen = [index for label in range(3) for index in (EACH * label, EACH * label + 1)]
    images = np.stack([(Noise()[index] / 255 - MEAN) / STD for index in chosen])
    found = fsjax.attribute(lambda images: linear(WEIGHTS, images), images.astype(np.float32))
    assert found.smallest.any((1, 2)).sum() >= 4 and len(np.unique(found.smallest, axis=0)) > 3, "it means something"
    assert len(set(found.predicted)) > 2 and not found.baseline_predicted.any()
    figures = re.findall(r'<figure><p>([^<]*)</p>\s*<img[^>]*src="([^"]*)"[^>]*><figcaption>(.*?)</figcaption>', body)
    assert len(figures) == 6 * 4 and [name for name, *_ in figures[:4]] == [
        *("image", "its smallest set", "the set alone", "without the set")
    ]
    for index, image in enumerate(images):
        shown = figures[4 * index : 4 * index + 4]
        mask, predicted = found.smallest[index], found.predicted[index]
        alone = real(spectra(image) * mask[..., None])
        assert (pixels(shown[1][1]) == pixels(html.mask_picture(mask))).all()
        needed = f"{100 * mask.mean():.2g} % of the plane" if mask.any() else "none: mean colour alone is ox"
        assert shown[1][2] == needed
        for part, (_, picture, text) in zip((image, alone, image - alone), shown[:1] + shown[2:], strict=True):
            assert np.abs(pixels(picture) - 255 * (part * STD + MEAN)).max() <= 0.51
            best, expected = words(np.exp(part.reshape(-1) @ WEIGHTS.astype(float)))
            expected = expected.replace("<zebra>", "&lt;zebra&gt;")
            assert text == (expected if best == predicted else f"<strong>{expected}</strong>")
    assert f"{100 * np.median(found.smallest_shares):.2g} %" in Page(body).text
    assert re.findall(r"<h3>(.*?)</h3>", body) == ["ox", "&lt;zebra&gt;", "frog"]


@pytest.mark.usefixtures("undrawn")
def test_there_are_24_images_at_most_the_first_of_each_class(subject):
    names = tuple(f"class {label}" for label in range(30))
    weights = np.random.default_rng(1).normal(size=(SIDE * SIDE * 3, 30)).astype(np.float32)
    body = section(subject, make_model(weights, classes=names), range(3, 30)).body
    assert re.findall(r"<h3>(.*?)</h3>", body) == list(names[3:27]) and body.count("its smallest set</p>") == 24


def test_a_model_without_a_gradient_is_named_and_others_have_no_section(subject):
    def undifferentiated(params, images):
        shape = jax.ShapeDtypeStruct((len(images), 4), jnp.float32)
        return jax.pure_callback(lambda images: np.zeros((len(images), 4), np.float32), shape, images)

    text = " ".join(Page(section(subject, make_model(function=undifferentiated)).body).text.split())
    assert text.startswith("Not measured: model: got ") and text.endswith("that JAX can differentiate.")
    rooted = section(subject, make_model(function=lambda params, images: jnp.sqrt(linear(params, images) * 0))).body
    assert "Not measured: model: got a non-finite gradient on image 0" in rooted
    assert section(subject, attributions=0) is None
    assert section(subject, make_model(WEIGHTS[:, :1])) is None
    assert section(subject, labels=()) is None
