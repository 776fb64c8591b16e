"""Reports of figures that are made and not drawn.

In a process of its own: python tests/helpers/undrawn.py FLAGS, in the folder of a launch.py, in place of that file.
"""

import os
import runpy
import sys
import types


def leave_undrawn(patch, but_of_the_page=False):
    """Write empty files for figures, as long as this MonkeyPatch lasts: drawing takes most of a report's time.

    With `but_of_the_page` only PDFs are empty, and the page has its figures.
    """
    from fsjax.report import html

    saved, write = html._saved, html.write_figure

    def empty(figure, kind, metadata, *dpi):
        return saved(figure, kind, metadata, *dpi) if but_of_the_page and kind == "png" else b""

    def embed(figure, path):
        write(figure, path)
        return ("data:image/webp;base64,",) * 2

    patch.setattr(html, "_saved", empty)
    if not but_of_the_page:
        patch.setattr(html, "embed_figure", embed)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    sys.argv[0] = "launch.py"
    leave_undrawn(types.SimpleNamespace(setattr=setattr))
    runpy.run_path("launch.py", run_name="__main__")
