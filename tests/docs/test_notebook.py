"""The notebook runs from its first cell to its last, and what its text says is so."""

import json
import pathlib

import nbclient
import nbformat
import numpy as np
import pytest

from fsjax.data.synthetic import planted_orbits

FILE = pathlib.Path(__file__).parents[2] / "docs" / "notebook.ipynb"
# What the claims are about, as the notebook's own variables have it when it ends.
LAST = """
import json, matplotlib
print(json.dumps({
    "accuracy": accuracy, "found": found, "tpr": tpr, "planted": planted.tolist(),
    "loaded": result.planted.tolist(),
    "in_the_run": result.evaluation.methods["removal"].planted["C3"].found,
    "pdf": (output / "maps.pdf").read_bytes()[:5].decode(), "styled": matplotlib.rcParams["pdf.fonttype"],
}))
"""


@pytest.fixture(scope="module")
def ran():
    notebook = nbformat.read(FILE, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LAST))
    # From docs/, where who opens it in Jupyter is.
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FILE.parent)}}).execute()
    return notebook


@pytest.fixture(scope="module")
def said(ran):
    return json.loads(ran.cells[-1].outputs[-1]["text"])


def test_the_classifier_learns_and_leans_on_the_planted_frequencies(said):
    assert said["accuracy"] > 0.9
    assert said["found"]["C3"] == 1 and said["found"]["C2"] > 0.8, "chance is 0.03"
    # Syn_1 is biased in its lowest band, 0.
    np.testing.assert_array_equal(said["planted"], planted_orbits(0, 24, 0))


def test_five_per_cent_of_the_frequencies_are_enough_for_the_classes_that_were_planted(said):
    assert min(said["tpr"][2:]) > 0.9


def test_the_run_of_the_launcher_is_on_the_same_truth_and_finds_that_of_c3(said):
    truth, loaded = np.array(said["planted"]), np.array(said["loaded"])
    assert np.array_equal(loaded[2:], truth[2:]) and not loaded[0].any()
    assert said["in_the_run"] == 3


def test_every_figure_is_shown_and_the_users_style_is_as_it_was(ran, said):
    drawn = [cell for cell in ran.cells if cell.cell_type == "code" and "figures." in cell.source.split("import")[-1]]
    assert len(drawn) == 6
    for cell in drawn:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source
    assert said["pdf"] == "%PDF-" and said["styled"] == 3, "matplotlib's own default"
