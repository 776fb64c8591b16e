"""The live page in a browser: a hand paints, and the model answers."""

import json
import types
import urllib.parse

import jax
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from fsjax.explore import edits
from fsjax.explore.server import Page
from tests.helpers import explored
from tests.helpers.explored import COLUMN, ROW, SIZE


@pytest.fixture(scope="module")
def subject():
    return explored.made()


@pytest.fixture(scope="module")
def served(subject):
    page = Page(subject)
    yield page
    page.close()


@pytest.fixture
def opened(browser, served):
    """The page, when it shows its first answer; at the end its console is empty, and nothing was asked elsewhere."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(served.address)
    settled(browser)
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["source"] != "rendering"] == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert all(address.startswith((served.address.partition("?")[0], "data:", "about:")) for address in addresses)


def settled(browser):
    """Waits until the page has answered the newest state, other images included."""
    done = "return document.body.dataset.shown === document.body.dataset.wanted && !!document.body.dataset.shown"
    WebDriverWait(browser, 60, 0.02).until(lambda _: browser.execute_script(done))


def text(browser, name):
    return browser.find_element("id", name).text


def paint(browser, row, column):
    """A click of the mouse on one position."""
    canvas = browser.find_element("id", "plane")
    side = canvas.size["width"] / SIZE
    centre = (SIZE - 1) / 2
    offset = [round((place - centre) * side) for place in (column, row)]
    ActionChains(browser).move_to_element_with_offset(canvas, *offset).click().perform()
    settled(browser)


def test_painting_less_than_1_percent_turns_the_image_into_the_donor_s_class_and_undo_takes_it_back(opened, served):
    assert text(opened, "result") == "The model still says quiet."
    paint(opened, ROW, COLUMN)
    assert text(opened, "painted") == "2 of 256 positions, 0.78 %"
    assert text(opened, "result") == "quiet has become wave."
    assert text(opened, "captures").startswith("The same edit captures ")
    assert len(opened.find_elements("css selector", "#others img.captured")) > 16
    widths = [bar.size["width"] for bar in opened.find_elements("css selector", "#bars i")]
    assert max(widths) > 5 * sorted(widths)[0]
    pictures = [opened.find_element("id", name).get_attribute("src") for name in ("edited", "difference")]
    assert all(picture.startswith("data:image/webp") for picture in pictures)
    address = opened.current_url
    opened.get("about:blank")
    opened.get(address)
    settled(opened)
    assert text(opened, "result") == "quiet has become wave."
    paint(opened, 2, 3)
    assert text(opened, "painted").startswith("4 of 256")
    opened.find_element("id", "undo").click()
    settled(opened)
    assert text(opened, "painted").startswith("2 of 256")


def test_a_class_s_map_its_share_and_an_operation_without_a_donor(opened):
    Select(opened.find_element("id", "map")).select_by_visible_text("wave")
    settled(opened)
    assert text(opened, "result") == "quiet has become wave."
    before = int(text(opened, "painted").split()[0])
    opened.find_element("id", "share").send_keys(Keys.ARROW_RIGHT * 4)
    settled(opened)
    assert int(text(opened, "painted").split()[0]) > 1.4 * before
    Select(opened.find_element("id", "operation")).select_by_value("remove")
    settled(opened)
    assert text(opened, "result") == "The model still says quiet."
    assert not opened.find_element("id", "donor").is_displayed()
    assert not opened.find_element("id", "height").is_displayed()


def test_what_decided_an_image_by_its_button_and_lines_that_run(opened, subject, capsys):
    Select(opened.find_element("id", "recipient-class")).select_by_visible_text("wave")
    settled(opened)
    opened.find_element("id", "attribute").click()
    WebDriverWait(opened, 60).until(lambda _: "operation=keep" in opened.current_url)
    settled(opened)
    assert text(opened, "result") == "The model still says wave."
    mask = urllib.parse.parse_qs(urllib.parse.urlsplit(opened.current_url).fragment)["mask"][0]
    assert edits.read_mask(mask, (SIZE, SIZE))[ROW, COLUMN]
    opened.find_element("id", "python").click()
    lines = opened.find_element("id", "lines")
    WebDriverWait(opened, 20).until(lambda _: lines.get_property("value"))
    names = {"result": types.SimpleNamespace(model=subject.model, test=subject.test)}
    exec(lines.get_property("value"), names)
    shown = {name: opened.find_elements("css selector", f"#bars span.{name}") for name in ("before", "after")}
    for name, image in (("before", names["image"]), ("after", names["edited"])):
        expected = np.sort(np.asarray(jax.nn.softmax(subject.model(image))[0]))
        found = np.sort([float(cell.text.split()[0]) / 100 for cell in shown[name]])
        np.testing.assert_allclose(found, expected, atol=6e-4)


def test_one_s_own_image_is_kept_by_the_tab_and_trouble_is_a_line(opened, tmp_path):
    own, bad = tmp_path / "own.png", tmp_path / "bad.png"
    brightness = np.full((50, 40, 3), 200, np.uint8)
    Image.fromarray(brightness).save(own)
    bad.write_text("no image")
    chooser = opened.find_element("id", "recipient-file")
    chooser.send_keys(str(own))
    WebDriverWait(opened, 20).until(lambda _: "your image, predicted bright" in text(opened, "recipient"))
    settled(opened)
    assert "recipient=file-" in opened.current_url and text(opened, "result") == "The model still says bright."
    opened.refresh()
    settled(opened)
    WebDriverWait(opened, 20).until(lambda _: "your image" in text(opened, "recipient"))
    opened.find_element("id", "donor-file").send_keys(str(bad))
    WebDriverWait(opened, 20).until(lambda _: text(opened, "trouble").startswith("image: got no image;"))
    opened.execute_script("location.hash = 'recipient=file-000000000000'")
    WebDriverWait(opened, 20).until(
        lambda _: text(opened, "trouble") == "The dropped image is not in this tab: drop it again."
    )
    opened.execute_script("location.hash = 'recipient=0.77'")
    WebDriverWait(opened, 20).until(lambda _: text(opened, "trouble").startswith("nth: got 77; expected"))
    # A line and the browser's own note of the three refused requests: the file, the picture and the answer of 0.77.
    noted = []
    WebDriverWait(opened, 20).until(lambda _: noted.extend(opened.get_log("browser")) or len(noted) == 3)
    assert {entry["source"] for entry in noted} == {"network"}


def test_two_tabs_do_not_disturb_each_other(opened, served):
    first = opened.current_window_handle
    paint(opened, ROW, COLUMN)
    opened.switch_to.new_window("tab")
    opened.get(f"{served.address}#operation=wave&amplitude=40")
    settled(opened)
    paint(opened, 2, 2)
    other = text(opened, "result")
    opened.close()
    opened.switch_to.window(first)
    paint(opened, 3, 3)
    assert other == "The model still says quiet." and text(opened, "result") == "quiet has become wave."
    assert text(opened, "painted").startswith("4 of 256")
