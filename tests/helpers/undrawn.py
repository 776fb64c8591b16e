"""Reports of figures that are made and not drawn.

In a process of its own: python tests/helpers/undrawn.py FLAGS, in the folder of a launch.py, in place of that file.
"""

import os
import runpy
import sys
import types


def leave_undrawn(patch, but_of_the_page=False):
    """Write empty files for figures, as long as this MonkeyPatch lasts: drawing takes most of a report's time."""
    from fsjax.report import html

    saved = html._saved

    def empty(figure, kind, dpi):
        return saved(figure, kind, dpi) if but_of_the_page and dpi == html._PAGE_DPI else b""

    patch.setattr(html, "_saved", empty)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    sys.argv[0] = "launch.py"
    leave_undrawn(types.SimpleNamespace(setattr=setattr))
    runpy.run_path("launch.py", run_name="__main__")
