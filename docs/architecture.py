"""Draw architecture.svg (python docs/architecture.py); tests check its rows against the imports of fsjax/."""

import html
import pathlib

# From the top down: a row's purpose, and its modules and packages (with a slash) of fsjax/. A module belongs to the
# innermost box that holds it. Imports go to a row below, or to the right in the same row.
ROWS = (
    ("what users call", "launch.py api/"),
    ("the command line", "experiment/"),
    ("the stages of experiments", "experiment/runner experiment/stages/"),
    ("running stages", "experiment/pipeline experiment/study_tables experiment/stage experiment/forecast"),
    ("pages and figures", "explore/ report/"),
    ("training", "training/"),
    ("rates, controls, measures", "evaluation/"),
    ("searches", "search/"),
    ("classifiers and images", "models/ data/"),
    ("masked forward passes", "engine/"),
    ("the Fourier plane", "fourier/"),
    ("devices, processes, files", "runtime/"),
)

WIDTH, LABEL, BOX, GAP, CHARACTER = 930, 205, 30, 8, 7.6


def draw() -> str:
    """Return the diagram: a band a row, a box a file or package, an arrow for the direction of imports."""
    parts, top = [], 40
    for title, names in ROWS:
        boxes, left, line = [], LABEL, 0
        for name in names.split():
            width = round(CHARACTER * len(name)) + 18
            if left + width > WIDTH - 16:
                left, line = LABEL, line + 1
            boxes.append((left, top + 10 + line * (BOX + GAP), width, name))
            left += width + GAP
        height = (line + 1) * (BOX + GAP) + 12
        parts.append(f'<rect class="row" x="8" y="{top}" width="{WIDTH - 16}" height="{height}" rx="6"/>')
        parts.append(f'<text x="20" y="{top + height / 2 + 5:g}">{html.escape(title)}</text>')
        for x, y, width, name in boxes:
            kind = "package" if name.endswith("/") else "file"
            parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BOX}" rx="4"/>')
            parts.append(f'<text class="name" x="{x + width / 2:g}" y="{y + 20}">{name}</text>')
        top += height + 8
    head = "imports go down, and to the right within a row"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">',
            "<title>The files and packages of fsjax, in rows; each imports from the rows below</title>",
            "<style>text{font:14px sans-serif;fill:#1a1a1a}.name{font:13px monospace;text-anchor:middle}"
            ".page{fill:#fff}.row{fill:#f3f5f8}.file{fill:#fff;stroke:#5b6b80}.package{fill:#dce9f7;stroke:#0b3c6f}"
            ".arrow{stroke:#d55e00;stroke-width:2;fill:none}</style>",
            f'<rect class="page" width="{WIDTH}" height="{top}"/>',
            '<path class="arrow" d="M20 12 v18 m-5 -6 l5 6 l5 -6 M40 21 h20 m-6 -5 l6 5 l-6 5"/>',
            f'<text x="72" y="26">{head}</text>',
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    pathlib.Path(__file__).with_suffix(".svg").write_text(draw())
