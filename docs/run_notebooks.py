"""Runs the notebooks and writes their outputs into them, and the last picture of each beside it for the gallery.

python docs/run_notebooks.py            # or some of them: python docs/run_notebooks.py own_model
"""

import base64
import pathlib
import sys

import nbclient
import nbformat
from nbformat import NotebookNode

FOLDER = pathlib.Path(__file__).parent / "notebooks"


def run(file: pathlib.Path) -> NotebookNode:
    """Return a notebook with the outputs of its cells, run from its folder; an exception of a cell ends it."""
    notebook = nbformat.read(file, as_version=4)
    resources = {"metadata": {"path": str(file.parent)}}
    nbclient.NotebookClient(notebook, timeout=900, record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # without progress and warnings
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def pictures(notebook: NotebookNode) -> list[bytes]:
    """Return the PNGs that the cells show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [base64.b64decode(png) for output in outputs if (png := output.get("data", {}).get("image/png"))]


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or file.stem in sys.argv[1:]:
            notebook = run(file)
            nbformat.write(notebook, file)
            file.with_suffix(".png").write_bytes(pictures(notebook)[-1])
