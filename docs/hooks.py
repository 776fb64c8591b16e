"""Hooks of mkdocs: pages from files outside docs/, the table of files, equations as MathML."""

import html
import json
import pathlib
import re

import latex2mathml.converter
from file_table import files
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
# File of the repository -> page of the site.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}


def on_files(pages, config, **_):
    """Add the README as the home page, the changelog and the notebook."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages.append(File.generated(config, page, content=_relinked(text)))
    pages.append(File.generated(config, "notebook.md", content=_notebook()))
    return pages


def on_page_markdown(markdown, **_):
    """Fill in the table of files; link the page of the notebook."""
    markdown = markdown.replace("](notebook.ipynb", "](notebook.md")
    return markdown.replace("<!-- files -->", files())


def on_page_content(content, **_):
    """Turn equations into MathML, which browsers draw by themselves."""
    content = re.sub(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', _equation("block"), content, flags=re.DOTALL)
    return re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', _equation("inline"), content, flags=re.DOTALL)


def _relinked(text):
    """Return a file of the repository's root with links as seen from docs/."""
    for source, page in PAGES.items():
        text = text.replace(f"]({source})", f"]({page})")
    return text.replace("](docs/", "](")


def _notebook():
    """Return the notebook's text and code, without results."""
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in texts)


def _equation(display):
    return lambda match: latex2mathml.converter.convert(html.unescape(match[1]).strip(), display=display)
