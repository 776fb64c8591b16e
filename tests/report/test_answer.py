"""The answer of a run as rows, in sentences and as a table of a terminal."""

import dataclasses

import numpy as np
import pytest

from fsjax.report import answer
from fsjax.report.answer import NO_VERDICT, class_rows, headline, others, share_limits_text, share_text
from tests.helpers import results

NAMES, PAIR = ("ox", "zebra", "frog", "ship"), ("zebra", "ox")


def rows(rates, grafts):
    """Of a method whose maps of 5 % have these rates; the nearest share to the one asked for."""
    of = results.evaluation(PAIR, {"removal": results.method({0.05: rates}, grafts=grafts)})
    return class_rows(of, "removal", 0.06)


def test_a_row_has_the_verdict_of_its_class_and_the_rates_under_its_map():
    grafts = results.grafts(
        PAIR, ("shortcut by phase", "spread"), smallest=[0.006, None], psi=[0.9, 0.1], psi_ci=[[0.8, 1.0], [0.0, 0.2]]
    )
    rates = results.map_rates([0.75, 0.5], [0.1, None], tpr_ci=[[0.6, 0.9], [0.4, 0.6]])
    zebra, ox = rows(rates, grafts)
    named = [zebra[field] for field in ("name", "kind", "by", "verdict")]
    assert named == ["zebra", "shortcut", "phase", "shortcut by phase"]
    assert (zebra["shortcut"], zebra["share"], zebra["psi"], zebra["psi_ci"]) == (True, 0.05, 0.9, (0.8, 1.0))
    assert zebra["smallest"] == 0.006 and zebra["smallest_ci"].tolist() == [0.006, 0.006]
    assert (zebra["tpr"], zebra["tpr_ci"].tolist(), zebra["fpr"]) == (0.75, [0.6, 0.9], 0.1)
    assert (ox["verdict"], ox["shortcut"], ox["psi"], ox["smallest"], ox["tpr"]) == ("spread", False, 0.1, None, 0.5)
    assert np.isnan(ox["fpr"]) and (ox["sentence"], ox["reason"]) == ("ox: spread: made up.", "made up.")


def evaluation(kinds, names=NAMES, **grafts):
    """Of maps at 1 and 5 %, with verdicts about 0.5 %."""
    count = len(names)
    found = results.grafts(names, kinds, share=0.00513, low_pass_psi=[0.125] * count, **grafts)
    rates = {share: results.map_rates([share * 10] * count, [0.125] * count) for share in (0.01, 0.05)}
    return results.evaluation(names, {"removal": results.method(rates, grafts=found)})


def sentences(of, share=0.05):
    found = class_rows(of, "removal", share)
    short, accuracy = headline(of, "removal", found, share, 0.45).split(" Accuracy 0.50 on the test images")
    assert accuracy == (", near chance: the verdicts say little." if len(found) == 1 else ".")
    return short, others(found)


def test_the_headline_names_the_shortcuts_and_the_smallest_share_of_any_of_them():
    kinds = ("shortcut by amplitude", "shortcut by phase", "spread", "spread")
    assert sentences(evaluation(kinds, smallest=[0.02, 0.0059, 0.001, None])) == (
        "2 of 4 classes are frequency shortcuts: ox, zebra. 0.59 % of the plane controls zebra; low-pass of its map's "
        "size has psi 0.12.",
        "The others: 2 spread.",
    )
    far = evaluation(("spread", "shortcut", "band", "spread"), smallest=[None, 0.125, 0.1, None])
    assert sentences(far) == (
        "1 of 4 classes is a frequency shortcut: zebra. 12 % of the plane controls zebra; low-pass of its map's size "
        "has psi 0.12.",
        "The others: 2 spread, 1 band.",
    )
    assert sentences(evaluation(("spread", "band", "band", "band"), smallest=[0.02] * 4)) == (
        "0 of 4 classes are frequency shortcuts.",
        "Verdicts: 3 band, 1 spread.",
    )
    alone = evaluation(("shortcut",), names=("ox",))
    assert sentences(alone) == ("1 of 1 class is a frequency shortcut: ox.", "")
    seven = evaluation(("shortcut",) * 7, tuple("abcdefg"))
    assert sentences(seven)[0] == "7 of 7 classes are frequency shortcuts.", "more than one can read are not named"


@pytest.mark.parametrize(
    ("accuracy", "images", "is_near"), [(0.34, [20] * 4, True), (0.35, [20] * 4, False), (0.85, [90, 4, 3, 3], True)]
)
def test_an_accuracy_that_guessing_may_reach_is_called_near_chance(accuracy, images, is_near):
    """Of 80 images, Wilson's lower limits of 0.34 and 0.35 are 0.246 and 0.255; naming one class reaches its share."""
    of = evaluation(("spread",) * 4)
    unfiltered = dataclasses.replace(of.unfiltered, accuracy=accuracy)
    of = dataclasses.replace(of, images=np.array(images), unfiltered=unfiltered)
    assert ("near chance" in answer.table(of, "removal", 0.05, 0.6)) is is_near


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.00587, "0.59 %"), (0.05, "5 %"), (0.0999, "10 %"), (1.0, "100 %"), (0.456, "46 %"), (None, "–"), (np.nan, "–")],
)
def test_a_share_and_its_limits_have_two_digits(share, words):
    assert share_text(share) == words
    assert share_limits_text([0.0042, 0.0091], 0.5) == "[0.42, 0.91] %"
    assert share_limits_text([0.0042, np.nan], 0.5) == "[0.42, > 50] %", "beyond the largest that was tried"
    assert share_limits_text([np.nan, np.nan], 0.5) == ""


def test_a_terminal_shows_verdicts_and_their_numbers_in_columns():
    psi, limits = [0.1, 0.9, 0.25, 0.5], [[0.0, 0.2], [0.8, 0.95], [-0.125, 0.5], [0.4, 0.6]]
    of = evaluation(
        ("spread", "shortcut by amplitude", "not recognised", "undecided"),
        smallest=[None, 0.0059, None, 0.05],
        psi=psi,
        psi_ci=limits,
    )
    assert answer.table(of, "removal", 0.05, 0.6).splitlines() == [
        "1 of 4 classes is a frequency shortcut: zebra. 0.59 % of the plane controls zebra; low-pass of its map's size "
        "has psi 0.12. Accuracy 0.50 on the test images.",
        "The others: 1 spread, 1 not recognised, 1 undecided.",
        "",
        "class  verdict                smallest share  psi [95 %]          at share  TPR at 5 %  FPR at 5 %",
        "ox     spread                 -               0.10 [0.00, 0.20]   0.51 %    0.50        0.12",
        "zebra  shortcut by amplitude  0.59 %          0.90 [0.80, 0.95]   0.51 %    0.50        0.12",
        "frog   not recognised         -               0.25 [-0.12, 0.50]  0.51 %    0.50        0.12",
        "ship   undecided              5 %             0.50 [0.40, 0.60]   0.51 %    0.50        0.12",
        "",
        "A shortcut needs a psi above 0.5 with 95 % confidence, and controls that have far less.",
    ]


def test_where_classes_keep_unlike_shares_a_terminal_shows_each():
    of = evaluation(("spread",) * 4)
    for positions, shown in (([59, 573, 80, 80], True), ([51, 50, 51, 50], False), ([4, 3, 4, 3], False)):
        rates = results.map_rates([0.5] * 4, positions=positions, plane=1024)
        of.methods["removal"] = results.method({0.56: rates})
        head, *rows = [line.split("  ") for line in answer.table(of, "removal", 0.56, 0.6).splitlines()[2:7]]
        assert (head[-1] == "map keeps") == shown
        if shown:
            assert [row[-1].strip() for row in rows] == ["5.8 %", "56 %", "7.8 %", "7.8 %"]


def test_of_many_classes_a_terminal_shows_the_first_and_the_shortcuts_and_names_are_made_plain():
    names = tuple(f"class {index}" for index in range(30))
    kinds = tuple("shortcut" if index == 27 else "spread" for index in range(30))
    lines = answer.table(evaluation(kinds, names), "removal", 0.04, 0.6).splitlines()
    listed = [line.partition("  ")[0] for line in lines if line.startswith("class ")][1:]
    assert listed == [*names[:20], "class 27"]
    assert "and 9 more, none of them a shortcut" in lines
    names = ("\x1b[2Jox\n", "z" * 99)
    text = answer.table(evaluation(("shortcut", "spread"), names), "removal", 0.05, 0.6)
    assert "\x1b" not in text and r"\x1b[2Jox\n" in text and f"{'z' * 27}...  " in text and "z" * 28 not in text


def test_a_terminal_says_where_the_page_is_and_where_there_is_no_verdict(tmp_path):
    of = evaluation(("spread",) * 4)
    results.write(tmp_path, of)
    text = answer.terminal_text(tmp_path, "removal", 0.05, 0.6)
    assert text.endswith(f"\n\nPage: {tmp_path / 'report' / 'index.html'}")
    of.methods["removal"] = results.method({0.05: results.map_rates([0.5, None, 0.75, 0.5])})
    results.write(tmp_path, of)
    lines = answer.terminal_text(tmp_path, "removal", 0.05, 0.6).splitlines()
    assert NO_VERDICT in lines and lines[0].startswith("TPR above 0.6 at 5 % of the plane for 1 of 4 classes.")
    assert lines[4].split() == ["zebra", "-", "-", "-", "-", "-", "0.10"]
