"""The data of the page's script: those of all classes in the page, or in a file each where there are many."""

import json

from fsjax.evaluation import verdict
from fsjax.report import explorer, pictures
from fsjax.report.plane import Plane, colour_table
from fsjax.report.shown import Shown
from fsjax.runtime import files


def write(shown: Shown, rows: list[dict], stops: list[explorer.Stop], planes: list[Plane]) -> dict:
    """Return the data as JSON values; with more than explorer.IN_PAGE classes, write those of each to data/ beside it.

    Args:
      shown: what the page is about.
      rows: of `overview.rows`.
      stops: of the slider.
      planes: to choose from.
    """
    config, maps, grafts = shown.config, shown.maps, shown.grafts
    height, width = maps.masks.shape[2:]
    pictured = explorer.classes(maps, stops, planes, shown.classifier, shown.test, config.report.samples)
    classes = (
        {
            **of_class,
            **{name: row[name] for name in ("sentence", "at", "of_masks", "confused")},
            "curve": explorer.curve(grafts, row["label"]),
        }
        for of_class, row in zip(pictured, rows, strict=True)
    )
    in_page = len(rows) <= explorer.IN_PAGE
    if not in_page:
        for label, of_class in enumerate(classes):
            script = f"fsjaxClass({label},{json.dumps(of_class)});\n"
            files.write_text(shown.folder / "data" / f"class-{label:05d}.js", script)
    shares = [stop.share for stop in stops]
    return {
        "names": maps.classes,
        "width": width,
        "height": height,
        "dc": [height // 2, width // 2],
        "shares": shares,
        "headline": shares.index(shown.share),
        "curveShares": [] if grafts is None else grafts.curve_shares,
        "threshold": shown.threshold,
        "control": verdict.CONTROL,
        "kept": pictures.KEPT_COLOUR,
        "planes": [{"name": plane.name, "about": plane.about, "colours": plane.colours} for plane in planes],
        "colours": {name: colour_table(name, pictures.NOTHING) for name in {plane.colours for plane in planes}},
        "hint": "Point at a frequency, or move with the arrow keys, to read its values.",
        "classes": list(classes) if in_page else None,
    }
