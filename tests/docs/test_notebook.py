"""Each notebook runs from its first cell to its last, whose assertions hold what it says against the planted truth."""

import importlib
import pathlib
import sys

import nbformat
import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
FILES = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def notebooks():
    sys.path.append(str(DOCS))
    return importlib.import_module("run_notebooks")


def shown(notebook):
    """The kinds of outputs of each cell."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [{(one.output_type, *sorted(one.get("data", {}))) for one in of_cell} for of_cell in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_runs_holds_its_own_claims_and_is_committed_with_such_outputs(file, notebooks):
    committed, ran = nbformat.read(file, as_version=4), notebooks.run(file)
    assert "assert " in ran.cells[-1].source
    assert shown(ran) == shown(committed), f"python docs/run_notebooks.py {file.stem}"
    assert notebooks.pictures(committed)
    assert max(path.stat().st_size for path in (file, file.with_suffix(".png"))) < 300_000
