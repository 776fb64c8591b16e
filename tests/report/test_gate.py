"""The gate for pipelines: what it refuses, and its JUnit XML and card."""

import dataclasses
import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from fsjax.data.dataset import Dataset
from fsjax.experiment import command
from fsjax.report import gate
from fsjax.runtime import files
from tests.helpers import results
from tests.helpers.linear_classifier import Made, make_classifier
from tests.helpers.refused import refused

NAMES = ("cat", "a|b\x07", "dog", "elk", "fox")
KINDS = ("shortcut by phase", "spread", "undecided", "trigger", "shortcut by amplitude")
VERDICTS = results.grafts(NAMES, KINDS, psi=[0.9, 0.2, 0.5, 0.1, 0.6]).verdicts


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["cat", "elk", "fox"]),
        ({"allow": ["cat", "dog"]}, ["elk", "fox"]),
        ({"kinds": ["shortcut"]}, ["cat", "fox"]),
        ({"max_psi": 0.6}, ["cat", "elk"]),
        ({"kinds": ["spread", "undecided"], "max_psi": 0.3}, ["dog"]),
        ({"kinds": []}, []),
    ],
)
def test_verdicts_of_these_kinds_are_refused_but_for_allowed_classes_and_small_psi(given, names):
    assert [each.name for each in gate.refused(VERDICTS, **given)] == names


def test_what_the_gate_does_not_know_is_refused():
    refused(r"^allow: got 'cow'; expected cat, ", gate.refused, VERDICTS, allow=["cow"])
    refused(r"^kinds: got 'shortcuts'; expected shortcut, band, ", gate.refused, VERDICTS, kinds=["shortcuts"])
    for number in (np.nan, -0.1, 1.1):
        refused(rf"^max-psi: got {number:g}; expected a number in \[0, 1\]", gate.refused, VERDICTS, max_psi=number)
    refused(r"^check: got no verdicts; expected a result of the stage", gate.refused, [])


def test_junit_has_a_case_for_each_class():
    suite = xml.fromstring(gate.junit("run\x00", VERDICTS, gate.refused(VERDICTS)).encode())
    assert suite.attrib == {"name": "run\\x00", "tests": "5", "failures": "3", "skipped": "1"}
    outcomes = {case.get("name"): [(part.tag, part.get("message")) for part in case] for case in suite}
    assert outcomes == {
        "cat": [("failure", "cat: shortcut by phase: made up.")],
        r"a|b\x07": [],
        "dog": [("skipped", "dog: undecided: made up.")],
        "elk": [("failure", "elk: trigger: made up.")],
        "fox": [("failure", "fox: shortcut by amplitude: made up.")],
    }


def test_junit_skips_what_is_open_unless_the_gate_refuses_it():
    verdicts = results.grafts(("a", "b", "c"), ("undecided", "not recognised", "spread")).verdicts
    suite = xml.fromstring(gate.junit("run", verdicts, gate.refused(verdicts, kinds=["undecided"])).encode())
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert [[part.tag for part in case] for case in suite] == [["failure"], ["skipped"], []]


def test_a_card_is_read_as_it_was_written_and_tells_a_model_card(tmp_path):
    model, source = make_classifier(2), Made((25, 25))
    digests = gate.digests(model, Dataset(source, 8))
    source.images[np.flatnonzero(source.labels == 1)[-1]] += 1  # beyond the first 20
    assert gate.digests(model, Dataset(source, 8)) == digests
    source.images[np.flatnonzero(source.labels == 1)[19]] += 1  # the last that is read
    assert gate.digests(model, Dataset(source, 8))["images"] != digests["images"]
    source.images[np.flatnonzero(source.labels == 1)[19]] -= 1
    source.labels[np.flatnonzero(source.labels == 1)[-1]] = 0  # every label is read
    assert gate.digests(model, Dataset(source, 8))["images"] != digests["images"]
    assert gate.digests(make_classifier(2, seed=2), Dataset(source, 8))["model"] != digests["model"]
    card = gate.Card(
        "1", "fsjax --config=x", **digests, method="graft", accuracy=0.5, headline="3 of 5 | <b>.", verdicts=VERDICTS
    )
    files.write_json(tmp_path / "card.json", card.to_json())
    assert gate.Card.read(tmp_path / "card.json") == card
    assert " judged. SHA-256 " in dataclasses.replace(card, command="").markdown(), "a run from Python has none"
    text = card.markdown()
    assert text.startswith("## Frequency shortcuts\n\n3 of 5 \\| &lt;b>.\n\n| class |")
    assert "| cat | shortcut by phase | 0.90 [0.50, 0.50] | made up. |" in text and r"| a\|b\x07 | spread |" in text
    assert digests["model"][:12] in text and digests["images"][:12] in text and "`fsjax --config=x`" in text


def test_cards_of_a_folder_are_rows_of_a_page_and_refused_classes_come_first(tmp_path, monkeypatch, capsys):
    other = results.grafts(("fox", "new <b>"), ("spread", "coarse"), psi=[0.3, None]).verdicts
    for folder, verdicts in (("x/a", VERDICTS), ("b", other)):
        card = gate.Card("1", "", "m", "i", "graft", len(verdicts) / 10, f"{folder}.", verdicts)
        files.write_json(tmp_path / folder / "card.json", card.to_json())
    launch = ["fsjax", "cards", str(tmp_path)]
    assert command.main(launch) == 0
    assert capsys.readouterr().out == f"cards: {tmp_path / 'report' / 'cards.html'}\n"
    page = (tmp_path / "report" / "cards.html").read_text()
    # cat, elk and fox are shortcuts or triggers of a card; fox of one, and spread in the other.
    header, *rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    assert header == ["card", "accuracy", "fox", "cat", "elk", "new &lt;b&gt;", "a|b\x07", "dog"]
    (b, low, *of_b), (a, high, *of_a) = [[re.sub("<.*?>", "", cell) for cell in row] for row in rows]
    assert (b, low, a, high) == (str(tmp_path / "b"), "0.200", str(tmp_path / "x" / "a"), "0.500")
    assert of_b == ["\N{WHITE CIRCLE} spread0.30 [0.50, 0.50]", "–", "–", "\N{BLACK SQUARE} coarse– ", "–", "–"]
    assert of_a[0] == "\N{BLACK UP-POINTING TRIANGLE} shortcut by amplitude0.60 [0.50, 0.50]" and of_a[3] == "–"
    files.write_json(tmp_path / "b" / "card.json", {"version": 9})
    assert command.main(launch) == 2
    assert "version: got 9; expected 2; delete it and run fsjax check --card again" in capsys.readouterr().err
    assert command.main([*launch[:2], str(tmp_path / "report")]) == 2
    assert capsys.readouterr().err.startswith("error: cards: got no card.json in ")
