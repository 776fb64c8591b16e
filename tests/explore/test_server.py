"""The live page's server: its answers are the model's, and nobody else gets any."""

import base64
import http.client
import io
import json
import re
import resource
import types
import urllib.parse

import jax
import numpy as np
import pytest
from PIL import Image

import fsjax
from fsjax.data.dataset import ArrayDataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.explore import edits, server
from fsjax.explore.subject import GROUP, OTHERS, Subject
from fsjax.fourier import spectrum
from fsjax.report import html
from tests.helpers import explored
from tests.helpers.explored import COLUMN, ROW, SIZE

PAINTED = np.zeros((SIZE, SIZE), bool)
PAINTED[[ROW, SIZE - ROW], [COLUMN, SIZE - COLUMN]] = True
GRAFT = {"recipient": {"class": 0, "nth": 3}, "donor": {"class": 1, "nth": 5}, "operation": "graft"}
GRAFT |= {"mask": edits.write_mask(PAINTED)}


@pytest.fixture(scope="module")
def subject():
    return explored.made()


@pytest.fixture(scope="module")
def served(subject):
    page = server.Page(subject)
    yield page
    page.close()


def ask(page, route, body=None, token=None, **headers):
    """Status and content of an answer."""
    address = urllib.parse.urlsplit(page.address)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    query = address.query if token is None else f"token={token}"
    sent = body if body is None or isinstance(body, str) else json.dumps(body)
    connection.request("GET" if body is None else "POST", f"{route}?{query}", sent, headers)
    reply = connection.getresponse()
    content = reply.read().decode()
    connection.close()
    return reply.status, json.loads(content) if "json" in reply.headers["Content-Type"] else content


def test_a_graft_is_answered_with_what_fsjax_graft_says(served, subject):
    status, got = ask(served, "/answer", GRAFT)
    images = normalise(subject.test.images([3, 25]), *subject.model.mean_std)
    expected = fsjax.graft(subject.model, images[:1], images[1:], PAINTED)
    for name, logits in (("before", expected.before), ("after", expected.logits)):
        np.testing.assert_allclose(got[name], jax.nn.softmax(logits)[0], atol=2e-5)
    assert (status, got["positions"], got["target"]) == (200, 2, 1) and np.argmax(got["after"]) == 1
    strong = ask(served, "/answer", GRAFT | {"operation": "wave", "amplitude": 150})[1]
    levels = subject.test.images([3])[0] + 150 * explored.wave()
    assert strong["clipped"] == pytest.approx(((levels < -0.5) | (levels > 255.5)).mean(), abs=2e-3)
    assert strong["gain"] == pytest.approx(127 / 150, rel=1e-3) and (levels < 0).any() and (levels > 255).any()
    # Of 40 images of other classes 32 are asked: the wave captures all but some that are bright.
    asked = [{**GRAFT, "group": group, "target": 1} for group in range(OTHERS // GROUP)]
    others = [image for one in asked for image in ask(served, "/others", one)[1]["images"]]
    assert len(others) == 32 and all(image["before"] in (0, 2) for image in others)
    assert all(image["after"] == 1 for image in others if image["before"] == 0)


def test_a_class_s_map_moves_with_its_share_a_wave_is_heard_and_what_decided_is_what_was_planted(served):
    for share, positions in ((0.01, 2), (0.05, 12), (0.2, 51)):
        got = ask(served, "/answer", {**GRAFT, "map": [1, share]})[1]
        assert abs(got["positions"] - positions) <= 1
        assert edits.read_mask(got["mask"], (SIZE, SIZE))[ROW, COLUMN]
    heard = [ask(served, "/answer", {**GRAFT, "operation": "wave", "amplitude": levels})[1] for levels in (0, 4, 40)]
    assert heard[0]["before"] == pytest.approx(heard[0]["after"], abs=1e-5)
    # 30 times half of A / (255 * 0.25): the logit of the class.
    log_odds = [np.log(each["after"][1] / each["after"][0]) for each in heard]
    assert log_odds[1] - log_odds[0] == pytest.approx(30 * 4 / (255 * 0.25) / 2, rel=0.01)
    status, got = ask(served, "/attribute", {"recipient": {"class": 1, "nth": 0}})
    assert (status, got["predicted"]) == (200, 1)
    assert edits.read_mask(got["mask"], (SIZE, SIZE))[ROW, COLUMN]


def test_a_dropped_image_is_resized_and_its_python_lines_give_the_same_probabilities(served, subject, capsys):
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3)).astype(np.uint8))
    file = html.lossless(picture).partition(",")[2]
    shown = ask(served, "/image", {"image": {"file": file}})[1]
    request = {**GRAFT, "recipient": {"file": shown["picture"].partition(",")[2]}}
    got = ask(served, "/answer", request)[1]
    lines = ask(served, "/python", request)[1]["lines"]
    assert explored.LINES in lines
    exec(lines, {"result": types.SimpleNamespace(model=subject.model, test=subject.test)})
    numbers = re.findall(r"[\d.]+(?:e-\d+)?", capsys.readouterr().out)
    printed = np.array(numbers, float).reshape(2, 3)
    np.testing.assert_allclose(printed, [got["before"], got["after"]], atol=2e-5)


@pytest.mark.parametrize(
    ("route", "changes", "said"),
    [
        ("/answer", {"recipient": {"class": 3, "nth": 0}}, "class: got 3; expected 0 or more and up to 2"),
        ("/answer", {"donor": {"class": 1, "nth": 20}}, "nth: got 20; expected 0 or more and up to 19"),
        ("/answer", {"donor": "x"}, "image: got x; expected a class and a number, or a file"),
        ("/answer", {"recipient": {"file": "bm8="}}, "image: got no image; expected JPEG, PNG, WEBP, BMP, GIF"),
        ("/answer", {"recipient": {"file": 7}}, "image: got argument should be a bytes-like object or ASCII string"),
        ("/answer", {"operation": "graf"}, "operation: got 'graf'; expected graft, "),
        ("/answer", {"operation": ["graft"]}, "operation: got "),
        ("/answer", {"mask": "zzzz"}, "mask: got 'zzzz'; expected lengths of runs"),
        ("/answer", {"map": [1, 0]}, "share: got 0; expected "),
        ("/answer", {"amplitude": "loud"}, "amplitude: got 'loud'; expected "),
        ("/others", {"group": 8, "target": 1}, "group: got 8; expected 0 or more and up to 7"),
        ("/others", {"group": 0}, "target: got -1; expected 0 or more and up to 2"),
    ],
)
def test_bad_input_is_one_line(served, route, changes, said):
    status, got = ask(served, route, GRAFT | changes)
    assert status == 400 and got["error"].startswith(said) and "\n" not in got["error"], got


def test_only_the_page_with_its_token_is_answered_and_trouble_is_one_line(served, subject, monkeypatch):
    for route, body in (("/", None), ("/answer", GRAFT), ("/image", {}), ("/python", GRAFT)):
        assert ask(served, route, body, token="guess")[0] == 403
        assert ask(served, route, body, Host="evil.example")[0] == 400
    assert ask(served, "/")[0] == 200 and "127.0.0.1" in served.address
    assert ask(served, "/answer", "[1]") == (400, {"error": "request: got no JSON object; expected one"})
    for body in ("{", "[" * 10**5):
        status, said = ask(served, "/answer", body)
        assert status == 500 and "Error: " in said["error"] and "\n" not in said["error"]
    monkeypatch.setattr(type(subject), "_logits", lambda *_: 1 / 0)
    assert ask(served, "/answer", GRAFT) == (500, {"error": "ZeroDivisionError: division by zero"})


def test_200_strokes_compile_nothing_more_and_memory_stays(served, subject):
    rng = np.random.default_rng(0)

    def stroke():
        drawn = rng.random((SIZE, SIZE)) < 0.1
        operation = rng.choice(list(edits.OPERATIONS))
        request = {**GRAFT, "operation": operation, "mask": edits.write_mask(drawn | spectrum.conjugate(drawn))}
        target = ask(served, "/answer", request)[1]["target"]
        ask(served, "/others", {**request, "group": 0, "target": target})

    stroke()
    programs, before = subject._program._cache_size(), resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(200):
        stroke()
    assert subject._program._cache_size() == programs == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss < 6_000  # KiB


def test_grey_images_that_are_normalised_already_are_shown_and_dropped(subject):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, SIZE, SIZE, 1)).astype(np.float32)
    model = Model(lambda _, x: x.sum((1, 3))[:, :3], {}, (SIZE, SIZE, 1), explored.CLASSES)
    test = ArrayDataset(values, np.arange(6) % 3, explored.CLASSES)
    grey = Subject(*html.displayable(model, test), subject.maps, "grey", "")
    darkest = np.unravel_index(values.argmin(), values.shape)
    shown = grey.image({"image": {"class": int(darkest[0] % 3), "nth": int(darkest[0] // 3)}})["picture"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))))
    assert pixels.shape == (SIZE, SIZE, 3) and not pixels[darkest[1], darkest[2]].any()
    again, _ = grey._open({"file": shown.partition(",")[2]})
    np.testing.assert_allclose(again[0], np.repeat(values[darkest[0]], 3, -1), atol=np.ptp(values) / 255)
    # Others are images of other classes, without the two that are edited; the aim is the donor's class, whatever the
    # model says of it.
    for label in range(3):
        request = GRAFT | {"recipient": {"class": 0, "nth": 1}, "donor": {"class": label, "nth": 0}}
        assert grey.answer(request)["target"] == label
        assert len(grey.others(request | {"target": 1, "group": 0})["images"]) == (2, 3, 2)[label]
