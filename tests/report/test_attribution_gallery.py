"""The section on single images: sets, pictures and words are those of fsjax.attribute, drawn as NumPy draws them."""

import base64
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fsjax
from benchmarks.cost import report_workdir
from configs import common
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.report import pictures
from fsjax.report.attribution_gallery import section
from tests.helpers.html_page import Page

NAMES, SIDE, EACH = ("ox", "<zebra>", "frog"), 9, 3
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
        # In the middle of the range, which no part of an image leaves.
        return np.random.default_rng(int(index)).integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)


def apply(params, images):
    return images.reshape(len(images), -1) @ params


def make(folder, function=apply, params=WEIGHTS, classes=NAMES, labels=(0, 1, 2), attributions=2):
    config = common.base()
    config.report.attributions = attributions
    classifier = Model(function, params, (SIDE, SIDE, 3), classes, (MEAN, STD))
    return section(config, classifier, Dataset(Noise(classes), SIDE), list(labels), folder)


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), float)


@pytest.mark.usefixtures("undrawn")
def test_each_image_stands_with_its_smallest_set_that_set_alone_and_without_it(tmp_path):
    body = make(tmp_path).body
    chosen = [index for label in range(3) for index in (EACH * label, EACH * label + 1)]
    images = np.stack([(Noise()[index] / 255 - MEAN) / STD for index in chosen])
    found = fsjax.attribute(lambda images: apply(WEIGHTS, images), images.astype(np.float32))
    # The claims below mean something: other sets for other images, and one that needs none.
    assert found.smallest.any((1, 2)).sum() == 5 and len(np.unique(found.smallest, axis=0)) > 3
    assert len(set(found.predicted)) == 4 and not found.of_baseline.any()
    figures = re.findall(r'<figure><p>([^<]*)</p>\s*<img[^>]*src="([^"]*)"[^>]*><figcaption>(.*?)</figcaption>', body)
    assert len(figures) == 6 * 4 and [name for name, *_ in figures[:4]] == [
        *("image", "its smallest set", "the set alone", "without the set")
    ]
    for index, image in enumerate(images):
        of_image = figures[4 * index : 4 * index + 4]
        mask, predicted = found.smallest[index], found.predicted[index]
        spectrum = np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1)) * mask[..., None]
        alone = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(0, 1)), axes=(0, 1)).real
        assert (pixels(of_image[1][1]) == pixels(pictures.mask_picture(mask))).all()
        needed = f"{100 * mask.mean():.2g} % of the plane" if mask.any() else "none: mean colour alone is ox"
        assert of_image[1][2] == needed
        for part, (_, picture, said) in zip((image, alone, image - alone), of_image[:1] + of_image[2:], strict=True):
            assert np.abs(pixels(picture) - 255 * (part * STD + MEAN)).max() <= 0.51
            odds = np.exp(part.reshape(-1) @ WEIGHTS.astype(float))
            best = int(odds.argmax())
            expected = f"{OUTPUTS[best]} {odds[best] / odds.sum():.2f}".replace("<zebra>", "&lt;zebra&gt;")
            assert said == (expected if best == predicted else f"<strong>{expected}</strong>")
    assert f"{100 * np.median(found.smallest_shares):.2g} %" in Page(body).text
    assert re.findall(r"<h3>(.*?)</h3>", body) == ["ox", "&lt;zebra&gt;", "frog"]


@pytest.mark.usefixtures("undrawn")
def test_there_are_24_images_at_most_the_first_of_each_class(tmp_path):
    names = tuple(f"class {label}" for label in range(30))
    weights = np.random.default_rng(1).normal(size=(SIDE * SIDE * 3, 30)).astype(np.float32)
    body = make(tmp_path, params=weights, classes=names, labels=range(3, 30)).body
    assert re.findall(r"<h3>(.*?)</h3>", body) == list(names[3:27]) and body.count("its smallest set</p>") == 24


def test_a_model_that_cannot_be_differentiated_is_said_so_and_others_have_no_section(tmp_path):
    def undifferentiated(params, images):
        shape = jax.ShapeDtypeStruct((len(images), 4), jnp.float32)
        return jax.pure_callback(lambda images: np.zeros((len(images), 4), np.float32), shape, images)

    text = " ".join(Page(make(tmp_path, undifferentiated).body).text.split())
    assert text.startswith("Not measured: model: got ") and text.endswith("that JAX can differentiate.")
    rooted = make(tmp_path, lambda params, images: jnp.sqrt(apply(params, images) * 0)).body
    assert "Not measured: model: got a non-finite gradient on image 0" in rooted
    assert make(tmp_path, attributions=0) is None
    assert make(tmp_path, params=WEIGHTS[:, :1]) is None
    assert make(tmp_path, labels=()) is None


@pytest.mark.parametrize("attributions", [0, 1])
def test_the_page_has_the_section_and_its_figure_beside_it(tmp_path, undrawn, attributions):
    report_workdir.write(tmp_path, ("a", "b"), 8, samples=1, attributions=attributions)
    text = Page((tmp_path / "report" / "removal" / "index.html").read_text()).text
    assert text.count("Which frequencies decided this image?") == attributions
    figures = tmp_path / "report" / "removal" / "figures"
    assert len(list(figures.glob("attribution.*"))) == 2 * attributions
