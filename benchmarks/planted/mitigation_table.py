"""Show the rows of the mitigation benchmark as a Markdown table, and draw robust share and cost.

  python benchmarks/planted/mitigation_table.py --rows=DIR --figure=mitigation.png
  python benchmarks/planted/mitigation_table.py --rows=DIR,docs/results/mitigation.jsonl  # beside the published rows

A line summarises the seeds of a set, a model with its steps, and a way: the median and worst share of the oracle's
robust accuracy; medians of the worst class's accuracy as in training, absent and conflicting, of the mean accuracy
under corruptions, and of the accuracy under FGSM; and the number of training images over the oracle's.
"""

import collections
import json
import pathlib
import sys
from typing import NamedTuple

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common.markdown import table as markdown_table
from fsjax.report import style

_ROWS = flags.DEFINE_list("rows", None, "Workdirs of the benchmark, and files with a row a line.", required=True)
_FIGURE = flags.DEFINE_string("figure", "", "File of the figure; none = none.")

_COLUMNS = "seeds", "share", "worst", "as in training", "absent", "conflicting", "corrupted", "FGSM", "cost"
# Panels of the figure beside each other, at most.
_PANELS = 3


class Line(NamedTuple):
    """A way on a kind of sets: medians over seeds, except `worst`; accuracies are in [0, 1]."""

    seeds: int
    share: float
    worst: float
    as_in_training: float
    absent: float
    conflicting: float
    corrupted: float
    fgsm: float
    cost: float


def summarise(rows: list[dict]) -> dict[tuple[str, str], dict[str, Line]]:
    """Return the lines of each set (with its model), a way each; a seed without an oracle's row is left out.

    Args:
      rows: as in row.json.
    """
    runs: dict = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in rows:
        runs[row["set"], f"{row['model']}, {row['steps']} steps"][row["way"]][row["seed"]] = row
    lines: dict = {}
    for key, ways in runs.items():
        oracle = ways.get("oracle", {})
        for way, seeds in ways.items():
            values = [_values(row, oracle[seed]) for seed, row in seeds.items() if seed in oracle]
            if values:
                share, *rest = np.median(values, axis=0).tolist()
                worst = min(value[0] for value in values)
                lines.setdefault(key, {})[way] = Line(len(values), share, worst, *rest)
    return lines


def _values(row: dict, oracle: dict) -> list[float]:
    """Return a run's share of the oracle's robust accuracy, and the other numbers of a line."""
    worst_class = [row[shown][1] for shown in ("as_in_training", "absent", "conflicting")]
    share = row["robust"] / oracle["robust"] if oracle["robust"] else 0.0
    corrupted = float(np.mean(list(row["corrupted"].values())))
    return [share, *worst_class, corrupted, row["fgsm"], row["images"] / oracle["images"]]


def markdown(lines: dict[tuple[str, str], dict[str, Line]]) -> str:
    """Return the table, the best share of a set first."""
    table = []
    for (name, model), ways in sorted(lines.items()):
        for way, line in sorted(ways.items(), key=lambda item: -item[1].share):
            numbers = [f"{value:.3f}" for value in line[1:-1]]
            table.append([name, model, way, str(line.seeds), *numbers, f"{line.cost:.2f}"])
    return markdown_table(("set", "model", "way", *_COLUMNS), table)


@style.paper
def draw(lines: dict[tuple[str, str], dict[str, Line]]) -> Figure:
    """Draw the shares of each way, from the worst seed to the median, a panel a set; the cost stands beside them."""
    shares = collections.defaultdict(list)
    for set_lines in lines.values():
        for way, line in set_lines.items():
            shares[way].append(line.share)
    places = {way: place for place, way in enumerate(sorted(shares, key=lambda way: float(np.mean(shares[way]))))}
    columns = min(len(lines), _PANELS)
    rows = -(-len(lines) // columns)
    figure = style.empty(1.0 + 1.9 * columns, (0.55 + 0.15 * len(places)) * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis in panels[len(lines) :]:
        axis.remove()
    models = {model for _, model in lines}
    for number, (axis, ((name, model), ways)) in enumerate(zip(panels, sorted(lines.items()), strict=False)):
        for way, line in ways.items():
            colour = style.VERMILION if way == "probe" else style.BLUE
            axis.plot([line.worst, line.share], 2 * [places[way]], color=colour)
            axis.plot(line.share, places[way], "o", color=colour)
            axis.annotate(
                f"{line.cost:.1f}", (line.share, places[way]), (5, -2), textcoords="offset points", fontsize=6
            )
        axis.set_yticks(list(places.values()), list(places))
        axis.set_title(name if len(models) == 1 else f"{name}\n{model}", fontsize=style.SMALL)
        axis.tick_params(labelbottom=number + columns >= len(lines))
        axis.set(xlim=(-0.05, 1.25), ylim=(-0.6, len(places) - 0.4))
    what = "share of the oracle's accuracy;\nbeside it the images trained on, over the oracle's"
    figure.supxlabel(f"{' and '.join(sorted(models))}: {what}", fontsize=style.SMALL)
    return figure


def read(source: pathlib.Path) -> list[dict]:
    """Read the rows of a workdir or a file; raise UsageError where there are none."""
    files = [source] if source.is_file() else sorted(source.glob("*/*/row.json"))
    if not files:
        raise app.UsageError(f"--rows: got {source}; expected a workdir with finished runs or a file of rows")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def main(_: list[str]) -> None:
    lines = summarise([row for source in _ROWS.value for row in read(pathlib.Path(source))])
    print(markdown(lines))
    if _FIGURE.value:
        draw(lines).savefig(_FIGURE.value, dpi=150)


if __name__ == "__main__":
    app.run(main)
