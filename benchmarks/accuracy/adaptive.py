"""Compare `adaptive` with exact removal on a trained classifier, class by class: agreement of the maps, and cost.

  python benchmarks/accuracy/adaptive.py --config=configs/cifar10_cpu.py --config.data.root=DIR --workdir=DIR
  python benchmarks/accuracy/adaptive.py --config=configs/caltech10_cpu.py --config.data.root=DIR \
      --workdir=DIR --patch=4

DIR holds {train,test}/<class>/. Set other fields of the config in the same way, as for launch.py. Trains the classifier
if the workdir has none. Writes a row a class to WORKDIR/adaptive.jsonl when the class is done. A restart skips finished
rows and continues an unfinished search from WORKDIR/adaptive/. The columns:

  class, images, patch, share, split
  searched              number of searched images of the class
  iou                   of the two maps at the share, over positions
  expected_iou          estimate of `adaptive` itself
  passes, exact_passes  forward equivalents; share_of_exact: their ratio
  went_exact            whether `adaptive` replaced its estimates by an exact search
  seconds, exact_seconds    with compilation
  resumed               whether the search reused earlier results; then the seconds are too low

The last line has the means over the requested classes, the lowest IoU and the highest share.
"""

import dataclasses
import json
import pathlib
import sys
import time

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from fsjax import search
from fsjax.experiment import runner
from fsjax.experiment.stages import search as search_stage
from fsjax.experiment.workspace import Workspace
from fsjax.fourier import dfm, overlap
from fsjax.runtime import startup


def define_flags() -> None:
    """Define the flags; not at import, because other benchmarks define flags of the same names."""
    config_flags.DEFINE_config_file("config", "configs/cifar10_cpu.py", "Config of the classifier.")
    flags.DEFINE_string("workdir", None, "Folder of the classifier and of the rows.", required=True)
    flags.DEFINE_integer("images", 1000, "Searched images of each class, 0 = all.")
    flags.DEFINE_integer("classes", 0, "Number of classes, from the first; 0 = all.")
    flags.DEFINE_integer("patch", 1, "As config.search.patch.")
    flags.DEFINE_float("share", 0.05, "Share of the plane.")
    flags.DEFINE_string("split", "train", "As config.search.split.")


def main(_: list[str]) -> None:
    asked = flags.FLAGS
    logging.set_verbosity(logging.WARNING)
    startup.use_cores(128)
    directory = pathlib.Path(asked.workdir)
    config = asked.config
    config.stages = "train"
    runner.run(config, directory)
    workspace = Workspace(config, directory)
    with workspace.config.unlocked():
        options = workspace.config.search
        options.update(images_per_class=asked.images, patch=asked.patch, split=asked.split, resamples=0)
        options.shares = (asked.share,)
    search.check(options, (config.data.image_size,) * 2)
    problem = search_stage.problem(workspace, config.seed)
    settings = {name: asked[name].value for name in ("images", "patch", "share", "split")}
    print(json.dumps(mean(rows(problem, directory, settings, asked.classes or len(problem.classes)))))


def rows(problem: search.Problem, directory: pathlib.Path, settings: dict, classes: int) -> list[dict]:
    """Return the rows of the first classes, read from adaptive.jsonl or computed and appended to it."""
    file = directory / "adaptive.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    folder = directory / "adaptive" / "-".join(map(str, settings.values()))
    class_rows = []
    for label in range(classes):
        key = {"class": problem.classes[label], **settings}
        row = next((row for row in known if row.items() >= key.items()), None)
        if row is None:
            row = {**key, **compare(problem, label, folder)}
            with file.open("a") as lines:
                print(json.dumps(row), file=lines)
        print(json.dumps(row), flush=True)
        class_rows.append(row)
    return class_rows


def compare(problem: search.Problem, label: int, folder: pathlib.Path) -> dict:
    """Compare the two searches on one class; results of earlier classes are read from the folder if they exist."""
    exact, exact_seconds, exact_resumed = searched(problem, "removal", label, folder)
    maps, seconds, resumed = searched(problem, "adaptive", label, folder)
    report = maps.provenance["adaptive"]["classes"][label]
    passes, images = report["forward_passes"], int(exact.images[label])
    exact_passes = exact.forward_equivalents // int(exact.images.sum()) * images
    return {
        "searched": images,
        "iou": overlap.iou(maps.masks[0, label], exact.masks[0, label]),
        "expected_iou": report["agreement"]["iou"][0],
        "passes": passes,
        "exact_passes": exact_passes,
        "share_of_exact": passes / exact_passes,
        "went_exact": report["went_exact"],
        "seconds": round(seconds, 1),
        "exact_seconds": round(exact_seconds, 1),
        "resumed": resumed or exact_resumed,
    }


def searched(
    problem: search.Problem, method: str, label: int, folder: pathlib.Path
) -> tuple[dfm.DominantFrequencyMaps, float, bool]:
    """Return the maps of the classes up to this one, the seconds of the search, and whether it resumed earlier work."""
    options = problem.options.copy_and_resolve_references()
    options.method = method
    resumed = (folder / method / f"class{label:05d}").exists()
    upto = dataclasses.replace(
        problem,
        options=options,
        counts=problem.counts[: label + 1],
        classes=problem.classes[: label + 1],
        directory=folder / method,
        metrics=None,
    )
    started = time.monotonic()
    maps = search.SEARCHES[method].search(upto)
    return maps, time.monotonic() - started, resumed


def mean(class_rows: list[dict]) -> dict:
    """Return the means over the classes."""
    names = ("iou", "expected_iou", "share_of_exact", "seconds", "exact_seconds")
    means = {name: round(float(np.mean([row[name] for row in class_rows])), 4) for name in names}
    least = min(row["iou"] for row in class_rows)
    most = max(row["share_of_exact"] for row in class_rows)
    exact = sum(row["went_exact"] for row in class_rows)
    return {
        "class": "mean",
        "classes": len(class_rows),
        **means,
        "least_iou": least,
        "most_share": most,
        "went_exact": exact,
    }


if __name__ == "__main__":
    define_flags()
    app.run(main)
