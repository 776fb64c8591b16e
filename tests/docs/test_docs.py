"""The documentation says what is there: it builds, its links lead somewhere, and what it names exists."""

import ast
import dataclasses
import functools
import importlib
import pathlib
import re
import sys

import nbformat
import numpy as np
import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from ml_collections import ConfigDict

import fsjax
from configs import common
from fsjax.data import SOURCES
from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Grafts, Verdict
from fsjax.evaluation.ood.results import Group, OodResult, Point, SetResult
from fsjax.evaluation.results import Evaluation, MapRates, MethodEvaluation, Recovery, Reliance, Unfiltered
from fsjax.experiment.runner import STAGES
from fsjax.search import SEARCHES
from fsjax.training.evaluators import EVALUATORS
from tests.helpers import results

RESULTS = (
    *(Evaluation, Unfiltered, MethodEvaluation, MapRates, Recovery, Reliance),
    *(Grafts, Baseline, GraftRates, Curve, Verdict),
    *(OodResult, SetResult, Point, Group),
)
ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])


def docs_module(name):
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built so that any warning is an error; page -> HTML."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return {page.relative_to(folder).as_posix(): page.read_text() for page in folder.rglob("*.html")}


def test_the_site_builds_and_loads_nothing_from_elsewhere(site):
    for page in PAGES:
        outside = {"README.md": "overview.html", "CHANGELOG.md": "changelog.html"}
        assert outside.get(page.name) or page.relative_to(DOCS).with_suffix(".html").as_posix() in site
    for name, text in site.items():
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"', text)
        assert not [one for pair in loaded for one in pair if one.startswith(("http:", "https:", "//"))], name
    # Equations are MathML in the pages themselves.
    written = re.findall(r"\$\$.*?\$\$|\$[^$\n]+\$", (DOCS / "method.md").read_text(), re.DOTALL)
    assert len(written) > 40 and site["method.html"].count("<math ") == len(written)
    assert not any("arithmatex" in text or r"\frac" in text for text in site.values())


def test_the_readme_is_the_overview_and_notebooks_are_pages_with_their_outputs(site):
    for title in re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert title in site["overview.html"]
    assert 'src="psi.png"' in site["overview.html"] and 'href="guide/your_images.html"' in site["overview.html"]
    assert 'href="../notebooks/own_model.html"' in site["guide/verdict.html"]
    for file in (DOCS / "notebooks").glob("*.ipynb"):
        page, notebook = site[f"notebooks/{file.stem}.html"], nbformat.read(file, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("#"):
                assert cell.source.splitlines()[0].lstrip("# ") in page
        shown = docs_module("run_notebooks").pictures(notebook)
        assert shown and page.count('src="data:image/png;base64,') == len(shown)
        assert f'href="{file.stem}.html"' in site["notebooks/index.html"] and f'href="{file.name}"' in page


def test_every_number_of_the_readme_s_results_stands_in_the_page_of_results():
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| .+\? \| (.+) \| `.+` \|$", readme, re.MULTILINE)
    numbers = [number for row in rows for number in re.findall(r"\d+[.:,]\d+", row)]
    results = "".join(page.read_text() for page in (DOCS / "results").glob("*.md"))
    assert len(rows) >= 5 and len(numbers) > 5 and not [number for number in numbers if number not in results]


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_every_script_leads_to_a_file_and_a_heading_of_it(page):
    for file in re.findall(r"\b((?:configs|benchmarks|tests)/[\w/]+\.py)", page.read_text()):
        assert (ROOT / file).exists(), file
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"https?:", target):
            file, _, anchor = target.partition("#")
            there = page.parent / file if file else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(there), f"{page.name}: {target}"


def flat(config, prefix=""):
    found = set()
    for name, value in config.items():
        found.add(prefix + name)
        if isinstance(value, ConfigDict):
            found |= flat(value, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_config_field_that_a_page_names_exists(page):
    files = [file.stem for file in (ROOT / "configs").glob("*.py") if file.stem != "common"]
    known = set().union(*(flat(importlib.import_module(f"configs.{name}").get_config()) for name in files))
    text, groups = page.read_text(), {name.split(".")[0] for name in known if "." in name}
    named = re.findall(r"--config\.([a-z][\w.]*)=", text)
    # In backticks, a dotted name of a group, unless it is a file's.
    for name in re.findall(r"`(\w+(?:\.\w+)+)(?:=[^`]*)?`", text):
        if name.split(".")[0] in groups and not re.search(r"\.(py|npz|npy|json|jsonl|html|pt|pkl|fsjax)$", name):
            named.append(name)
    assert not [name for name in named if name not in known]


def test_the_tables_of_fields_results_and_registries_are_whole():
    table = docs_module("config_tables").fields()
    for name in flat(common.base()):
        value = functools.reduce(lambda group, part: group[part], name.split("."), common.base())
        assert isinstance(value, ConfigDict) or f"| `{name}` | `{value!r}` |" in table, name
    text = (DOCS / "files.md").read_text() + docs_module("config_tables").measures()
    fields = [field.name for kind in RESULTS for field in dataclasses.fields(kind)]
    assert len(fields) > 40 and not [name for name in fields if f"`{name}`" not in text]
    pages = [*(DOCS / "guide").glob("*.md"), DOCS / "contributing.md", DOCS / "files.md"]
    text = "".join(page.read_text() for page in pages)
    for registry in (STAGES, SEARCHES, SOURCES, EVALUATORS):
        assert not [name for name in registry if f"`{name}`" not in text and f"={name}" not in text]


def test_every_file_of_the_package_is_in_the_architecture_page(site):
    files = [file.relative_to(ROOT).as_posix() for file in (ROOT / "fsjax").rglob("*.py")]
    assert len(files) > 100 and not [file for file in files if file not in site["architecture.html"]]
    named = re.findall(r"^\| (`[^|]+`) \|", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    for entry in re.findall(r"`([^`]+)`", " ".join(named)):
        before, _, rest = entry.partition("{")
        inside, _, after = rest.partition("}")
        for part in inside.split(","):
            assert (ROOT / "fsjax" / f"{before}{part}{after}").exists(), entry


def imports(file):
    """Dotted modules and names of fsjax that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fsjax":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "fsjax")


def test_imports_run_down_the_diagram_and_to_the_right():
    rows = docs_module("architecture").ROWS
    boxes = ((name, (row, column)) for row, (_, names) in enumerate(rows) for column, name in enumerate(names.split()))
    place = {name.rstrip("/"): where for name, where in boxes}

    def box(module):
        """The diagram's innermost box that a dotted module, or a name in it, lies in; None for fsjax itself."""
        parts = module.split(".")[1:]
        candidates = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((name for name in candidates if name in place), None)

    against = set()
    for file in [ROOT / "launch.py", *sorted((ROOT / "fsjax").rglob("*.py"))]:
        name = file.relative_to(ROOT).as_posix()
        if name == "fsjax/__init__.py":
            continue
        own = name if name in place else box(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        assert own, f"{name} is in no box of docs/architecture.py"
        for other in filter(None, map(box, imports(file))):
            (row, column), (to_row, to_column) = place[own], place[other]
            if other != own and not (to_row > row or (to_row == row and to_column > column)):
                against.add((name, other))
    assert not against


def test_the_picture_of_the_diagram_is_drawn_of_its_rows():
    assert (DOCS / "architecture.svg").read_text() == docs_module("architecture").draw(), "python docs/architecture.py"


def python_block(page):
    names = {}
    exec(re.search(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)[1], names)
    return names


def test_the_reader_of_maps_in_plain_numpy_reads_what_was_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores = np.random.default_rng(0).normal(size=(3, 9, 13)).astype(np.float32)
    maps = results.maps(scores, (0.1, 0.5), ("a", "b", "c"))
    maps.save("runs/dfm_vit-demo/dfm/removal.npz")
    names = python_block("files.md")
    np.testing.assert_array_equal(names["masks"], maps.masks)
    assert names["method"] == "removal"


def test_a_method_without_fsjax_s_interfaces_is_scored_as_the_benchmark_s_page_shows():
    names = python_block("planted.md")
    planted = names["data"].planted[:3]
    hits = [(mask & truth).sum() / truth.sum() for mask, truth in zip(names["masks"][:3], planted, strict=True)]
    assert names["row"]["recall"] == pytest.approx(np.mean(hits), abs=0.1) and names["row"]["recall"] > 0.5


def test_the_citation_is_of_this_version_and_of_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= cited.keys()
    assert cited["version"] == fsjax.__version__
    released = re.search(r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released and released[1] == fsjax.__version__
