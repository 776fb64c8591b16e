"""Compare all search methods on one trained classifier: TPR and FPR of their maps on test images, and cost.

  python benchmarks/accuracy/methods.py --config=configs/cifar10_cpu.py --config.data.root=DIR --workdir=DIR
  python benchmarks/accuracy/methods.py --workdir=DIR --table --figure=FILE.png  # the rows so far, and the frontier

DIR holds {train,test}/<class>/. Set other fields of the config in the same way, as for launch.py. Trains the classifier
if the workdir has none. A row is a method at a share with a seed. The seed draws the searched training images and all
other random numbers of the method. Rows are appended to WORKDIR/methods.jsonl; a restart skips finished rows. `seconds`
is the time of a search, which may cover several shares. All maps are evaluated on the same test images, `--test_images`
a class. `trivial` rows are control masks of the same size: random, low-pass, and highest energy of the class.
"""

import dataclasses
import json
import pathlib
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags, logging
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from ml_collections import config_flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import markdown
from benchmarks.common import rows as row_file
from fsjax import search
from fsjax.evaluation.rates import Filterer
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import search as search_stage
from fsjax.fourier import masks, spectrum
from fsjax.runtime import startup
from fsjax.search import learned

# Row name -> (method, images of each class, the method's fields, whether each share has its own search).
RUNS = {
    "removal": ("removal", 100, {}, False),
    "greedy": ("greedy", 100, {}, False),
    "hierarchical": ("hierarchical", 30, {}, False),
    # Two masks in place of the default three: at most 115,000 forward equivalents for ten classes.
    "learned": ("learned", 1000, {"restarts": 2}, True),
}

CONFIG = config_flags.DEFINE_config_file("config", "configs/cifar10_cpu.py", "Config of the classifier.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the classifier and of the rows.", required=True)
RUN = flags.DEFINE_list("runs", list(RUNS), "Names of the rows.")
SHARES = flags.DEFINE_list("shares", ["0.05", "0.15"], "Shares of the plane.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds.")
CLASSES = flags.DEFINE_integer("classes", 0, "Number of classes, from the first; 0 = all.")
TEST_IMAGES = flags.DEFINE_integer("test_images", 200, "Test images of each class.")
FIELDS = flags.DEFINE_string("fields", "{}", "JSON: fields of the method; they override the row's.")
TABLE = flags.DEFINE_bool("table", False, "Print the finished rows and compute nothing.")
FIGURE = flags.DEFINE_string("figure", "", "With --table: a PNG of mean TPR over forward equivalents.")


def main(_: list[str]) -> None:
    directory = pathlib.Path(WORKDIR.value)
    file = directory / "methods.jsonl"
    if TABLE.value:
        finished = row_file.read(file)
        table(finished)
        if FIGURE.value:
            frontier(finished).savefig(FIGURE.value, dpi=160)
        return
    logging.set_verbosity(logging.WARNING)
    startup.use_cores(128)
    config = CONFIG.value
    config.stages = "train"
    runner.run(config, directory)
    workspace = Workspace(config, directory)
    test = test_images(workspace)
    shares = tuple(sorted(map(float, SHARES.value)))
    rows = row_file.begun(file)
    classes = CLASSES.value or len(test.classes)
    for seed in range(SEEDS.value):
        for name in ["trivial", *RUN.value]:
            alone = name != "trivial" and RUNS[name][3]
            for asked in [(share,) for share in shares] if alone else [shares]:
                key = {"run": name, "seed": seed, "fields": FIELDS.value if name != "trivial" else "{}"}
                known_rows = [row for row in rows if row.items() >= key.items() and len(row["tpr_each"]) == classes]
                if {row["share"] for row in known_rows} >= set(asked):
                    continue
                make = trivial if name == "trivial" else searched
                # Written together: a later start could not tell which rows of a part are missing.
                new_rows = [{**key, **row} for row in make(workspace, test, name, seed, asked)]
                rows += new_rows
                row_file.add(file, new_rows)
                row_file.add(None, new_rows)


def test_images(workspace: Workspace):
    """Return the first test images of each class."""
    whole = workspace.dataset("test")
    classes = range(len(whole.classes))
    return whole.subset(np.concatenate([np.flatnonzero(whole.labels == c)[: TEST_IMAGES.value] for c in classes]))


def searched(workspace: Workspace, test, name: str, seed: int, shares: tuple[float, ...]):
    """Search with a method and yield a row a share."""
    method, images, fields, _ = RUNS[name]
    with workspace.config.unlocked():
        options = workspace.config.search
        options.method, options.shares, options.images_per_class = method, shares, images
        if method in options:
            options[method] = search.options()[method].to_dict() | fields | json.loads(FIELDS.value)
    search.check(options, (workspace.config.data.image_size,) * 2)
    problem = dataclasses.replace(search_stage.problem(workspace, seed), directory=None)
    if CLASSES.value:
        count = CLASSES.value
        problem = dataclasses.replace(problem, counts=problem.counts[:count], classes=problem.classes[:count])
    started = time.monotonic()
    maps = search.SEARCHES[method].search(problem)
    seconds = time.monotonic() - started
    for index, share in enumerate(shares):
        cost = {"forward_equivalents": maps.forward_equivalents, "seconds": round(seconds, 1)}
        yield {"share": share, **judged(workspace, test, maps.masks[index]), **cost}


def trivial(workspace: Workspace, test, name: str, seed: int, shares: tuple[float, ...]):
    """Yield a row for each kind of control mask and share."""
    with workspace.config.unlocked():
        workspace.config.search.images_per_class = 100
    problem = search_stage.problem(workspace, seed)
    rng, orbits = np.random.default_rng([seed, 9]), spectrum.orbits(*problem.plane)
    energies = [learned.energy(problem, label)[orbits] for label in range(CLASSES.value or len(problem.classes))]
    for share in shares:
        budget = masks.budget(share, *problem.plane)
        kinds = {
            "random": [masks.random(*problem.plane, budget, rng) for _ in energies],
            "low-pass": [masks.low_pass(*problem.plane, budget) for _ in energies],
            "highest energy": [masks.best_orbits(energy, budget) for energy in energies],
        }
        for kind, made in kinds.items():
            yield {"share": share, "kind": kind, **judged(workspace, test, np.stack(made)), "forward_equivalents": 0}


def judged(workspace: Workspace, test, class_masks: np.ndarray) -> dict:
    """Return TPR and FPR on the test images under one mask a class."""
    (rates,) = Filterer(workspace.classifier, len(test)).rates(test, class_masks[None], "judge")
    tpr, fpr = rates.tpr, rates.fpr
    return {
        "tpr": round(float(tpr.mean()), 4),
        "fpr": round(float(fpr.mean()), 4),
        "shortcuts": int((tpr >= 0.6).sum()),
        "positions": float(class_masks.sum((1, 2)).mean()),
        "tpr_each": np.round(tpr, 3).tolist(),
        "fpr_each": np.round(fpr, 3).tolist(),
    }


def table(rows: list[dict]) -> None:
    """Print a Markdown table: the mean over the seeds, and in brackets the least and the greatest."""
    head = [
        "method",
        "share",
        "mean TPR",
        "mean FPR",
        "classes with TPR >= 0.6",
        "forward equivalents",
        "wall time (s)",
    ]
    lines = []
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = row.get("kind", row["run"]), row["fields"], row["share"], len(row["tpr_each"])
        groups.setdefault(key, []).append(row)
    for (name, fields, share, classes), seed_rows in sorted(groups.items(), key=lambda group: group[0][2]):
        cells = [name if fields == "{}" else f"{name} {fields}", f"{100 * share:g} %"]
        cells += [markdown.spread([row[column] for row in seed_rows], "{:.3f}") for column in ("tpr", "fpr")]
        cells += [f"{markdown.spread([row['shortcuts'] for row in seed_rows], '{:.3g}')} of {classes}"]
        cells += [f"{np.mean([row['forward_equivalents'] for row in seed_rows]):,.0f}"]
        cells += [f"{np.mean([row.get('seconds', 0) for row in seed_rows]):,.0f}"]
        lines.append(cells)
    print(markdown.table(head, lines))


def frontier(rows: list[dict]) -> Figure:
    """Draw mean TPR over forward equivalents, a panel a share; control masks have no cost and are drawn as lines."""
    shares = sorted({row["share"] for row in rows})
    drawn, axes = plt.subplots(1, len(shares), figsize=(3.6 * len(shares), 3.2), squeeze=False, layout="constrained")
    names = list(dict.fromkeys(row["run"] for row in rows if row["run"] != "trivial"))
    for axis, share in zip(axes[0], shares, strict=True):
        for name, marker in zip(names, "osD^vPX*", strict=False):
            run_rows = [row for row in rows if row["run"] == name and row["share"] == share]
            cost, tpr = ([row[column] for row in run_rows] for column in ("forward_equivalents", "tpr"))
            axis.plot(cost, tpr, marker, label=name, ms=5)
        for kind, line in (("highest energy", "--"), ("low-pass", ":")):
            kind_tprs = [row["tpr"] for row in rows if row.get("kind") == kind and row["share"] == share]
            axis.axhline(np.mean(kind_tprs), color="0.4", ls=line, lw=1, label=kind)
        axis.set(xscale="log", xlim=(1e4, 1e7), ylim=(0, 1), xlabel="forward equivalents")
        axis.set_title(f"{100 * share:g} % of the plane")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylabel("mean TPR on test images")
    drawn.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    return drawn


if __name__ == "__main__":
    app.run(main)
