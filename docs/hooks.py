"""Hooks of mkdocs: pages from files outside docs/ and from notebooks, the table of files, equations as MathML."""

import html
import json
import pathlib
import re

import config_tables
import latex2mathml.converter
from file_table import files
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
# File of the repository -> page of the site.
PAGES = {"README.md": "overview.md", "CHANGELOG.md": "changelog.md"}


def on_files(pages, config, **_):
    """Add the README as the overview, the changelog and the notebooks."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages.append(File.generated(config, page, content=_relinked(text)))
    for file in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages.append(File.generated(config, f"notebooks/{file.stem}.md", content=_notebook(file)))
    return pages


def on_page_markdown(markdown, **_):
    """Fill in the tables of files, config fields and measures; link the pages of notebooks."""
    markdown = re.sub(r"(\]\([\w/.]+)\.ipynb", r"\1.md", markdown)
    tables = {"files": files, "fields": config_tables.fields, "measures": config_tables.measures}
    for name, table in tables.items():
        marker = f"<!-- {name} -->"
        if marker in markdown:  # making a table reads the package
            markdown = markdown.replace(marker, table())
    return markdown


def on_page_content(content, **_):
    """Turn equations into MathML, which browsers draw by themselves."""
    content = re.sub(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', _equation("block"), content, flags=re.DOTALL)
    return re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', _equation("inline"), content, flags=re.DOTALL)


def _relinked(text):
    """Return a file of the repository's root with links as seen from docs/."""
    for source, page in PAGES.items():
        text = text.replace(f"]({source})", f"]({page})")
    return text.replace("](docs/", "](")


def _notebook(file):
    """Return a notebook's text, code and outputs, and a link to the file itself."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts += (
            [text] if cell["cell_type"] == "markdown" else [f"```python\n{text}\n```", *map(_output, cell["outputs"])]
        )
    parts.insert(1, f'<p><a href="{file.name}" download>Download the notebook</a></p>')
    return "\n\n".join(parts)


def _output(output):
    data = output.get("data", {})
    if "image/png" in data:
        return f"![](data:image/png;base64,{''.join(data['image/png']).strip()})"
    if "text/html" in data:
        return "".join(data["text/html"])
    return f"```text\n{''.join(output.get('text', data.get('text/plain', ''))).rstrip()}\n```"


def _equation(display):
    return lambda match: latex2mathml.converter.convert(html.unescape(match[1]).strip(), display=display)
