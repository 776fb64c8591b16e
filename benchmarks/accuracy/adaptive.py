"""`adaptive` against exact removal on a trained classifier, class by class: how alike the maps are, and at what cost.

  python benchmarks/accuracy/adaptive.py --config=configs/cifar10_cpu.py --config.data.root=DIR --workdir=DIR
  python benchmarks/accuracy/adaptive.py --config=configs/caltech10_cpu.py --config.data.root=DIR \
      --workdir=DIR --patch=4

DIR holds {train,test}/<class>/; other fields of the config are set likewise, as launch.py's are. Trains the classifier
in the workdir where there is none. A row is a class; rows go to WORKDIR/adaptive.jsonl as they are found, what is there
is not computed again, and a search that was stopped goes on from WORKDIR/adaptive/:

  class, images, patch, share, split; searched: images of the class
  iou                   of the two maps at the share, positions
  expected_iou          what `adaptive` itself expected that to be
  passes, exact_passes  forward equivalents, and share_of_exact, the one over the other
  went_exact            whether `adaptive` gave up its estimates
  seconds, exact_seconds    with compiling; resumed: some of it was there already, and the seconds are too few

Ends with a line of the means over the classes asked for, the least of their IoUs and the greatest of their shares.
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
    """Not made as the module is imported: others of these names are made by other benchmarks."""
    config_flags.DEFINE_config_file("config", "configs/cifar10_cpu.py", "Whose classifier is searched.")
    flags.DEFINE_string("workdir", None, "Of the classifier and of the rows.", required=True)
    flags.DEFINE_integer("images", 1000, "Of each class, 0 = all.")
    flags.DEFINE_integer("classes", 0, "The first so many, 0 = all.")
    flags.DEFINE_integer("patch", 1, "As config.search.patch.")
    flags.DEFINE_float("share", 0.05, "Of the plane.")
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
    about = {name: asked[name].value for name in ("images", "patch", "share", "split")}
    print(json.dumps(mean(rows(problem, directory, about, asked.classes or len(problem.classes)))))


def rows(problem: search.Problem, directory: pathlib.Path, about: dict, classes: int) -> list[dict]:
    """The rows of the first classes, each written to adaptive.jsonl as it is found, or read from there."""
    file = directory / "adaptive.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    folder = directory / "adaptive" / "-".join(map(str, about.values()))
    found = []
    for label in range(classes):
        key = {"class": problem.classes[label], **about}
        row = next((row for row in known if row.items() >= key.items()), None)
        if row is None:
            row = {**key, **compare(problem, label, folder)}
            with file.open("a") as lines:
                print(json.dumps(row), file=lines)
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def compare(problem: search.Problem, label: int, folder: pathlib.Path) -> dict:
    """One class; of those before it the two searches find their results in the folder, if they were searched."""
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
    """The maps of the classes up to this one, the seconds that it took, and whether it had been begun before."""
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


def mean(found: list[dict]) -> dict:
    """Over the classes."""
    names = ("iou", "expected_iou", "share_of_exact", "seconds", "exact_seconds")
    means = {name: round(float(np.mean([row[name] for row in found])), 4) for name in names}
    least = min(row["iou"] for row in found)
    most = max(row["share_of_exact"] for row in found)
    exact = sum(row["went_exact"] for row in found)
    return {
        "class": "mean",
        "classes": len(found),
        **means,
        "least_iou": least,
        "most_share": most,
        "went_exact": exact,
    }


if __name__ == "__main__":
    define_flags()
    app.run(main)
