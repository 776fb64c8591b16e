"""Rows of classes: what the verdict and the rates of each class say, and what is missing without grafts."""

import numpy as np

from fsjax.report.class_rows import class_rows
from tests.helpers import results

NAMES = ("zebra", "ox")


def test_a_row_has_the_verdict_of_its_class_and_the_rates_under_its_map():
    grafts = results.grafts(
        NAMES,
        ("shortcut by phase", "spread"),
        smallest=[0.006, None],
        psi=[0.9, 0.1],
        psi_ci=[[0.8, 1.0], [0.0, 0.2]],
    )
    rates = results.map_rates([0.75, 0.5], [0.1, None], tpr_ci=[[0.6, 0.9], [0.4, 0.6]])
    zebra, ox = class_rows(NAMES, rates, grafts)
    assert (zebra["name"], zebra["kind"], zebra["by"], zebra["verdict"]) == (
        "zebra",
        "shortcut",
        "phase",
        "shortcut by phase",
    )
    assert (zebra["shortcut"], zebra["share"], zebra["psi"], zebra["psi_ci"]) == (True, 0.05, 0.9, (0.8, 1.0))
    assert zebra["smallest"] == 0.006 and zebra["smallest_ci"].tolist() == [0.006, 0.006]
    assert (zebra["tpr"], zebra["tpr_ci"].tolist(), zebra["fpr"]) == (0.75, [0.6, 0.9], 0.1)
    assert (ox["verdict"], ox["shortcut"], ox["psi"], ox["smallest"], ox["tpr"]) == ("spread", False, 0.1, None, 0.5)
    assert np.isnan(ox["fpr"]) and (ox["sentence"], ox["reason"]) == ("ox: spread: made up.", "made up.")


def test_rows_of_an_earlier_evaluation_have_rates_and_no_verdict():
    zebra, ox = class_rows(NAMES, results.map_rates([0.75, 0.5]), None)
    assert (
        zebra.keys() == class_rows(NAMES, results.map_rates([0.75, 0.5]), results.grafts(NAMES, ["band"] * 2))[0].keys()
    )
    assert zebra["tpr"] == 0.75 and ox["tpr"] == 0.5
    for row in (zebra, ox):
        assert (row["kind"], row["verdict"], row["sentence"], row["shortcut"], row["psi"]) == ("", "", "", None, None)
