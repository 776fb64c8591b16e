"""The report's page in a browser: what its script draws is what Python computed."""

import contextlib
import re

import numpy as np
import pytest
from conftest import GRID, HOSTILE, SHARES, SIZE, shown
from selenium.webdriver.common.keys import Keys

from fsjax.fourier import masks
from fsjax.runtime import files
from tests.helpers.plane import filtered

STOPS, IN_CARDS = sorted([*SHARES, *GRID]), ("p", "dt", "dd", ".sign")


def part(browser, name):
    return browser.find_element("css selector", f'#explorer [data-part="{name}"]')


def kept(browser) -> np.ndarray:
    """Which positions of the map's canvas are painted as kept."""
    opacity = browser.execute_script(
        """const canvas = document.querySelector('[data-part="mask"]');
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, ...data.filter((_, i) => i % 4 === 3)];"""
    )
    return np.array(opacity[1:]).reshape(opacity[0], -1) > 128


def test_the_slider_goes_through_the_shares_and_redraws_the_map_as_python_makes_it(opened, few):
    file, maps = few
    browser = opened(file)
    slider, evaluation = part(browser, "slider"), files.read_json(file.parents[2] / "evaluation.json")
    found = evaluation["methods"]["removal"]
    assert shown(browser) == "0 0 0", "the verdict's share, 1 %"
    slider.send_keys(Keys.HOME)
    pictures = set()
    for stop, share in enumerate(STOPS):
        shown(browser, f"0 {stop} 0")
        np.testing.assert_array_equal(kept(browser), masks.within_share(maps.scores[0], share))
        rates = {**found["shares"], **found["grid"]}[f"{share:g}"]
        for rate in ("tpr", "fpr"):
            low, high = rates[f"{rate}_ci"][0]
            assert part(browser, rate).text == f"{rates[rate][0]:.3f} [{low:.3f}, {high:.3f}]"
        assert part(browser, "share").text == f"{100 * share:g} %"
        assert part(browser, "kept").text.startswith(f"{masks.within_share(maps.scores[0], share).sum()} of 256 ")
        pictures.add(str(drawn(browser, '[data-part="filtered"]')))
        slider.send_keys(Keys.ARROW_RIGHT)
    assert len(pictures) == len(STOPS)


def drawn(browser, selector) -> np.ndarray:
    """The pixels of a canvas, or of an image, in [0, 255]."""
    flat = browser.execute_script(
        """const found = document.querySelector(arguments[0]);
        const size = [found.naturalHeight ?? found.height, found.naturalWidth ?? found.width];
        const canvas = Object.assign(document.createElement("canvas"), { width: size[1], height: size[0] });
        const context = canvas.getContext("2d");
        context.drawImage(found, 0, 0);
        return [...size, ...context.getImageData(0, 0, size[1], size[0]).data];""",
        selector,
    )
    return np.array(flat[2:], float).reshape(*flat[:2], 4)[..., :3]


def test_images_and_grafts_follow_the_slider_as_numpy_filters_them(opened, few):
    file, maps = few
    browser = opened(file)
    chosen = '[data-part="grafts"] section .pair figure'
    originals = drawn(browser, '[data-part="originals"]').reshape(SIZE, 2, SIZE, 3).swapaxes(0, 1) / 255
    recipient, donor = (drawn(browser, f"{chosen}:nth-child({n}) img") / 255 for n in (1, 2))
    at_share, slider = [], part(browser, "slider")
    data = browser.execute_script("return JSON.parse(document.getElementById('explorer-data').textContent).classes[0]")
    slider.send_keys(Keys.HOME)
    for stop, share in enumerate(STOPS):
        shown(browser, f"0 {stop} 0")
        mask = masks.within_share(maps.scores[0], share)
        samples = np.concatenate(list(filtered(originals - 0.5, mask) + 0.5), axis=1)
        change = filtered((donor - recipient)[None], mask)[0]
        stretched = (change - change.min()) / (change.max() - change.min())
        for selector, expected in (
            ('[data-part="filtered"]', samples),
            (f"{chosen}:nth-child(3) canvas", stretched),
            (f"{chosen}:nth-child(4) canvas", recipient + change),
        ):
            assert np.abs(drawn(browser, selector) - 255 * np.clip(expected, 0, 1)).max() <= 0.51, (share, selector)
        said = browser.find_element("css selector", f"{chosen}:nth-child(4) figcaption").text.replace("\n", "; ")
        answer = data["answers"][0][stop]
        assert said == "; ".join(filter(None, [answer["prediction"], answer["second"]]))
        at_share.append(said)
        slider.send_keys(Keys.ARROW_RIGHT)
    part(browser, "verdict-share").click()
    shown(browser, "0 0 0")
    # What the gallery shows, which Python drew, is what the script draws at the same share.
    gallery = browser.find_element("css selector", "#grafts-0 section figure:nth-child(4) figcaption").text
    assert gallery.replace("\n", "; ") == at_share[0]
    python = drawn(browser, "#grafts-0 section figure:nth-child(4) img")
    assert np.abs(python - drawn(browser, f"{chosen}:nth-child(4) canvas")).max() <= 1


def cells(element) -> list[str]:
    return [cell.text for cell in element.find_elements("css selector", "dd, td")]


def test_a_newcomer_tells_from_the_page_which_class_is_a_shortcut_and_why(opened, few):
    browser = opened(few[0])
    lead = browser.find_element("css selector", ".lead").text
    count, name = re.match(r"(\d) of 4 classes is a frequency shortcut: (\w+)\.", lead).groups()
    cards = browser.find_elements("css selector", ".card")
    (card,) = [card for card in cards if "shortcut" in card.find_element("class name", "verdict").text]
    assert (count, card.find_element("tag name", "h2").text) == ("1", name) and "Accuracy 0.50" in lead
    why = card.find_element("class name", "reason").text
    words = r"(\d+) % of the plane control it \(psi ([\d.]+)\), and others like them do not; "
    share, psi, low_pass = re.fullmatch(words + r"low-pass of this size has psi ([\d.]+)\.", why).groups()
    # The card has the same numbers, all at one share.
    assert card.find_element("tag name", "dt").text == f"psi at {share} %" and card.text.count(" %") == 2
    shown_psi, *controls = (float(cell.split()[0]) for cell in cells(card))
    assert (shown_psi, controls[0]) == (float(psi), float(low_pass)) and max(controls) < shown_psi / 3
    card.find_element("css selector", "h2 a").click()
    shown(browser, f"0 {STOPS.index(float(share) / 100)} 0")
    assert why in part(browser, "sentence").text and part(browser, "share").text == f"{share} %"


def test_a_newcomer_finds_out_why_a_class_is_no_shortcut(opened, few):
    browser = opened(few[0])
    (row,) = [
        each for each in browser.find_elements("css selector", "#verdicts tbody tr") if each.text.startswith("ox")
    ]
    name, kind, why, share, psi, *_ = cells(row)
    assert kind.endswith("coarse")
    assert why.endswith("and low-pass of this size has psi 0.80: it is what a coarse image shows.")
    row.find_element("tag name", "a").click()
    shown(browser, f"2 {STOPS.index(float(share.split()[0]) / 100)} 0")
    assert part(browser, "name").text == name and why in part(browser, "sentence").text
    bars = part(browser, "masks_psi")
    names, values = ([each.text for each in bars.find_elements("tag name", tag)] for tag in ("b", "span"))
    beside = dict(zip(names, map(float, values), strict=True))
    assert beside["its map"] == float(psi.split()[0]) > 0.5 and beside["low-pass"] > beside["its map"] / 3
    note = browser.find_element("css selector", ".note")
    assert "controls the class" not in note.text, "its psi is above 1/2, and it is no shortcut"
    note.find_element("tag name", "a").click()
    rule = browser.find_element("css selector", "#table + p").text
    assert browser.current_url.endswith("#table") and "low-pass of its size has less than a third" in rule


def test_arrow_keys_read_scores_and_frequencies_out_and_redraw_no_picture(opened, few):
    file, maps = few
    browser = opened(file)
    canvas, scores = part(browser, "plane"), maps.scores[0]
    before = browser.find_element("css selector", '[data-part="grafts"] canvas')
    canvas.send_keys(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_RIGHT)
    said = part(browser, "read-out").text.replace("−", "-")
    # Reading values out filters no picture again.
    assert browser.find_element("css selector", '[data-part="grafts"] canvas') == before
    match = re.fullmatch(r"\(([+-][\d.]+), ([+-][\d.]+)\) cycles/pixel, score ≈ ([\de.-]+), kept (.*)", said)
    row, column = SIZE // 2 - 2, SIZE // 2 + 1
    assert [float(match[1]), float(match[2])] == pytest.approx([1 / SIZE, -2 / SIZE], abs=1e-3)
    # Levels lie 1/254 of a logarithmic scale of two decades either way apart, and are written with two digits.
    assert float(match[3]) == pytest.approx(scores[row, column], rel=0.08, abs=1e-3 * float(np.abs(scores).max()))
    first = next((share for share in STOPS if masks.within_share(scores, share)[row, column]), None)
    assert match[4] == ("at none of these shares" if first is None else f"from {100 * first:g} % on")


def test_a_heading_sorts_by_its_numbers_by_mouse_and_by_keyboard(opened, few):
    file, _ = few
    browser = opened(file)
    tpr = files.read_json(file.parents[2] / "evaluation.json")["methods"]["removal"]["shares"]["0.05"]["tpr"]
    table = browser.find_element("id", "verdicts")

    def order():
        return [row.text.split(" ")[0] for row in table.find_elements("css selector", "tbody tr td:nth-child(7)")]

    buttons = table.find_elements("css selector", "th button")
    heading = next(one for one in buttons if one.text.startswith("TPR") and "\n" not in one.text)
    before = order()
    assert before == [f"{value:.3f}" for value in tpr] and before != sorted(before)
    heading.click()
    assert order() == [f"{value:.3f}" for value in sorted(tpr)]
    heading.send_keys(Keys.ENTER)
    assert order() == [f"{value:.3f}" for value in sorted(tpr, reverse=True)]
    assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("which", ["few", "many"])
def test_a_name_that_is_a_script_is_text(opened, request, which):
    file, maps = request.getfixturevalue(which)
    label = maps.classes.index(HOSTILE)
    browser = opened(file, f"#class-{label}")
    shown(browser, f"{label} {STOPS.index((0.01, 0.05)[label % 2])} 0")
    assert part(browser, "name").text == HOSTILE and HOSTILE in part(browser, "sentence").text
    assert "taken" not in browser.title
    scripts = browser.find_elements("css selector", "script:not([src])")
    assert len(scripts) == 3 and all("taken" not in one.get_attribute("src") for one in scripts)
    assert part(browser, "class").find_elements("tag name", "option")[label].text == HOSTILE


def test_of_many_classes_each_is_read_from_its_file_when_it_is_chosen(opened, many):
    file, maps = many
    browser = opened(file)
    assert len(list((file.parent / "data").iterdir())) == len(maps.classes)
    part(browser, "previous").click()
    shown(browser, f"5 {STOPS.index(0.05)} 0")
    np.testing.assert_array_equal(kept(browser), maps.at(0.05)[5])
    assert browser.current_url.endswith("#class-5") and part(browser, "name").text == "class 5"
    assert len(browser.find_elements("css selector", "script[src]")) == 2


def test_the_index_is_the_page_and_finds_the_files_of_classes(opened, many):
    file, maps = many
    browser = opened(file.parents[1] / "index.html", "#class-3")
    shown(browser, f"3 {STOPS.index(0.05)} 0")
    np.testing.assert_array_equal(kept(browser), maps.at(0.05)[3])


def test_a_file_that_is_gone_is_named(browser, many, tmp_path):
    copy = tmp_path / "index.html"
    copy.write_bytes(many[0].read_bytes())
    browser.get(copy.as_uri())
    trouble = part(browser, "trouble")
    while not trouble.text:
        pass
    assert trouble.text == "This class cannot be shown: data/class-00000.js is not beside this page."


def test_the_chart_leaves_out_shares_at_which_no_rate_was_measured(opened, few):
    browser = opened(few[0])
    page = {"shares": [0.002, 0.01, 0.1], "threshold": 0.6, "control": 0.5}
    stops = [{"positions": 2}, {"tpr": 0.8, "fpr": 0.1}, {"tpr": 1.0, "fpr": None}]
    for stop, dots in ((0, 0), (1, 2), (2, 1)):
        script = "words.drawRates(document.querySelector('[data-part=\"rates\"]'), ...arguments)"
        browser.execute_script(script, page, {"stops": stops}, stop)
        chart = part(browser, "rates")
        drawn_lines = {rate: chart.find_element("css selector", f"polyline.{rate}") for rate in ("tpr", "fpr")}
        ends = {rate: len(line.get_attribute("points").split()) for rate, line in drawn_lines.items()}
        assert ends == {"tpr": 2, "fpr": 1} and len(chart.find_elements("tag name", "circle")) == dots


@contextlib.contextmanager
def wide(browser, width):
    """A screen of this width in CSS pixels."""
    sizes = {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [360, 768, 1024, 1280])
def test_nothing_is_cut_off_or_squeezed_at_any_width(opened, few, width):
    browser = opened(few[0])
    with wide(browser, width):
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        overflow = "const wide = arguments[0].closest('.wide'); return wide.scrollWidth - wide.clientWidth"
        assert browser.execute_script(overflow, browser.find_element("id", "verdicts")) <= 0
        bars = part(browser, "masks_psi")
        longest = max(bar.size["width"] for bar in bars.find_elements("tag name", "i"))
        assert longest > 0.8 * 0.25 * bars.size["width"], "psi is 0.9"
        ends, tops = {}, []  # of each row of cards, its right end
        for card in browser.find_elements("class name", "card"):
            ends[card.location["y"]] = card.location["x"] + card.size["width"]
            tops.append(card.location["y"])
        assert tops.count(min(tops)) == {360: 1, 768: 2, 1024: 2, 1280: 4}[width]
        assert max(ends.values()) - min(ends.values()) <= 1


def test_on_a_phone_the_table_s_rows_are_cards_and_panels_are_stacked(opened, few):
    browser = opened(few[0])
    with wide(browser, 390):
        row = browser.find_element("css selector", "#verdicts tbody tr")
        cells = row.find_elements("tag name", "td")
        assert row.size["width"] <= 360 and len({cell.location["y"] for cell in cells}) == len(cells)
        label = "return getComputedStyle(arguments[0], '::before').content"
        assert [browser.execute_script(label, cell) for cell in cells[3:6]] == ['"share"', '"psi"', '"smallest share"']
        views = browser.find_elements("css selector", ".view")
        assert len({view.location["x"] for view in views}) == 1 and len({view.location["y"] for view in views}) == 3
        # Sorting stays.
        heading = browser.find_element("css selector", "#verdicts th:nth-child(5) button")
        heading.click()
        assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"


def luminance(colour: str) -> float:
    """Of WCAG 2, of a CSS colour 'rgb(r, g, b)'."""
    shares = np.array(re.findall(r"\d+", colour)[:3], float) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_in_dark(opened, few, scheme):
    browser = opened(few[0])
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        paper = luminance(browser.find_element("tag name", "body").value_of_css_property("background-color"))
        assert (paper > 0.5) == (scheme == "light")
        for selector in ("p", "h2", ".faint", "td", "td a", "figcaption", *(f".card {one}" for one in IN_CARDS)):
            ink = luminance(browser.find_element("css selector", selector).value_of_css_property("color"))
            # WCAG 2.2, 1.4.3 (AA).
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, selector
        pictures = "return [...document.querySelectorAll('img, canvas')].map((each) => getComputedStyle(each).filter)"
        assert set(browser.execute_script(pictures)) == {"none"}, "turned colours would mislead"
        # Figures are drawn for either page.
        for picture in ("#across ~ figure img", "#across ~ .figures img"):
            ground = luminance(f"rgb({', '.join(map(str, drawn(browser, picture)[2, 2].astype(int)))})")
            assert abs(ground - paper) < 0.01
        toggle = browser.find_element("css selector", ".samples input")
        toggle.click()
        strips = browser.find_elements("css selector", ".samples :is(img, canvas)")
        assert [image.value_of_css_property("filter") for image in strips] == ["contrast(4)"] * 2
        toggle.click()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_without_scripts_verdicts_maps_and_the_table_are_there(opened, few):
    file, maps = few
    browser = opened(file)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert not browser.find_element("id", "explorer").is_displayed()
        cards = browser.find_elements("css selector", ".card")
        assert [card.find_element("tag name", "h2").text for card in cards] == list(maps.classes)
        assert all(card.find_element("tag name", "img").size["width"] > 50 for card in cards)
        assert len(browser.find_elements("css selector", "#verdicts tbody tr")) == len(maps.classes)
        pictured = browser.find_elements("css selector", ".gallery .pair img")
        # A graft or two of each class, and one image with the frequencies that decided it, of four pictures each.
        grafts = len(browser.find_elements("css selector", ".pairs section"))
        assert len(maps.classes) <= grafts <= 2 * len(maps.classes)
        assert len(pictured) == (grafts + len(maps.classes)) * 4 and all(image.size["width"] > 50 for image in pictured)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
