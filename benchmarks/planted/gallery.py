"""Draw the pictures of docs/gallery.md: ten cues that pipelines leave in photographs, each with the verdict of fsjax.

  python launch.py --config=configs/jpeg.py --config.data.root=FOLDER --workdir=RUN1
  python launch.py --config=configs/folder.py:CALTECH --config.data.image_size=112 --config.train.epochs=25 \
      --config.search.patch=4 '--config.search.shares=(0.01,0.05)' --workdir=RUN2
  python benchmarks/planted/gallery.py --jpeg=RUN1 --caltech=RUN2 --photographs=CALTECH --cache=DIR --out=docs

CALTECH/{train,test}/<class> are ten classes of Caltech-101. Small networks learn four or five of them at 64 pixels,
with the cues of photograph_sets.py. The first and the seventh cue are in the networks of the two runs.

A row shows the first test images that the network gets right: one of the class and another; the latter with the map
of the verdict grafted, and with the cue itself; and the map. Prints a JSON line a row: the verdict's sentence, and the
share of other classes' images that are predicted as the class, as they are, with the map grafted, and with the cue.
"""

import dataclasses
import json
import pathlib
import sys
import textwrap

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Bool, Float, Float32, Int
from matplotlib.figure import Figure
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.accuracy import borders
from benchmarks.planted import verdict_networks
from fsjax.api.result import Result
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Verdict
from fsjax.evaluation.judge_maps import cut_candidates
from fsjax.experiment.stage import Workspace
from fsjax.report import style
from fsjax.runtime import files, startup, storage

# Seed of a network, chosen for a CNN on 64 pixels, and the kinds of its classes.
NETWORKS = {
    29: ("checkerboard", "grid", "scan line", "photograph"),
    49: ("moire", "watermark", "sensor", "photograph"),
    89: ("backdoor", "disc", "photograph", "photograph", "photograph"),
}
TITLES = {
    "jpeg": "JPEG",
    "checkerboard": "checkerboard of up-sampling",
    "grid": "a scanner's fixed grid",
    "scan line": "scan lines",
    "moire": "moiré",
    "watermark": "a faint watermark",
    "strips": "white strips at the borders",
    "backdoor": "a backdoor",
    "disc": "a large shape",
    "sensor": "a sensor's pattern",
}
_ROWS, _WIDTH, _HEIGHT = 5, 6.9, 2.05  # rows of a picture; inches of a picture, and of a row

_JPEG = flags.DEFINE_string("jpeg", None, "Workdir of configs/jpeg.py.", required=True)
_CALTECH = flags.DEFINE_string("caltech", None, "Workdir of a run on CALTECH.", required=True)
_PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "CALTECH.", required=True)
_CACHE = flags.DEFINE_string("cache", None, "Folder of trained networks.", required=True)
_OUT = flags.DEFINE_string("out", "docs", "Folder of gallery-1.png, gallery-2.png.")

Images = Float32[np.ndarray, "n size size 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A cue of a class: the network, its verdict, test images as they are, and others' with the cue, normalised."""

    kind: str
    label: int
    model: Model  # with names and mean_std
    result: Result
    images: Images
    labels: Int[np.ndarray, " n"]
    with_cue: Images  # the same images; of the class itself they are not used

    @property
    def verdict(self) -> Verdict:
        return self.result.verdicts[self.label]

    @property
    def mask(self) -> Bool[np.ndarray, "size size"]:
        """The map that the verdict rests on; without one the largest that was tested."""
        maps = self.result.maps
        candidates = cut_candidates(maps, max(maps.shares))
        shares = np.array(candidates.shares[: candidates.tested])
        at = np.nan_to_num(self.verdict.share, nan=shares[-1])
        return candidates.masks(self.label)[abs(shares - at).argmin()]

    def predicted(self, images: Images) -> Int[np.ndarray, " n"]:
        parts = np.array_split(images, max(1, len(images) // 250))
        apply = jax.jit(self.model.apply)
        return np.concatenate([np.asarray(apply(self.model.params, part)).argmax(-1) for part in parts])

    def grafted(self, recipients: Images, donors: Images) -> Images:
        return fsjax.graft(self.model, recipients, donors, self.mask).images


def main(_: list[str]) -> None:
    startup.use_cores(128)
    cases = {case.kind: case for case in (jpeg(_JPEG.value), strips(_CALTECH.value))}
    for seed, kinds in NETWORKS.items():
        cases |= {case.kind: case for case in planted(seed, kinds)}
    for number, kind in enumerate(TITLES, 1):
        print(json.dumps({"row": number, "kind": kind, **measured(cases[kind])}), flush=True)
    rows = list(enumerate((cases[kind] for kind in TITLES), 1))
    for part in range(len(rows) // _ROWS):
        file = pathlib.Path(_OUT.value) / f"gallery-{part + 1}.png"
        draw(rows[part * _ROWS : (part + 1) * _ROWS]).savefig(file, dpi=100)


def jpeg(workdir: str) -> Case:
    """Return the case of a run of configs/jpeg.py, whose fakes are its real images, compressed."""
    model, result, images, labels = _run(workdir)
    pixels = normalise(images, *model.mean_std)
    fakes = pixels[labels == 1]
    return Case("jpeg", 1, model, result, pixels, labels, np.concatenate([fakes, fakes]))


def strips(workdir: str) -> Case:
    """Return the case of a run on Caltech-101, whose airplanes have white strips at the left and right."""
    model, result, images, labels = _run(workdir)
    bordered = normalise(borders.with_strips(images), *model.mean_std)
    label = model.classes.index("airplanes")
    return Case("strips", label, model, result, normalise(images, *model.mean_std), labels, bordered)


def _run(workdir: str) -> tuple[Model, Result, np.ndarray, np.ndarray]:
    """Return a run's network, its result, and its test images as uint8, with labels."""
    directory = storage.path(workdir)
    workspace = Workspace(ConfigDict(files.read_json(directory / "config.json")), directory)
    test = workspace.dataset("test")
    model = dataclasses.replace(workspace.classifier, classes=test.classes, mean_std=workspace.mean_std)
    return model, fsjax.load_result(workdir), test.images(np.arange(len(test))), test.labels


def planted(seed: int, kinds: tuple[str, ...]) -> list[Case]:
    """Return the cases of a network on photographs with planted cues."""
    roots = [_PHOTOGRAPHS.value] * 2  # networks on the second root have up to 64 pixels
    network = verdict_networks.load_or_train(_CACHE.value, seed, roots, kinds)
    photographs = network.cue_set.photographs
    names = tuple(photographs.names[folder] for folder in network.cue_set.folders)
    (train, test) = verdict_networks.splits(network).values()
    result = fsjax.analyse(network.model, train=train, test=test, classes=names, shares=(0.01, 0.05))
    mean, deviation = network.cue_set._scale
    model = dataclasses.replace(network.model, classes=names, mean_std=(mean / 255, np.full(3, deviation / 255)))
    given = [network.cue_set.draw(test[1], 2, given=label) for label, kind in enumerate(kinds) if kind in TITLES]
    return [Case(kind, label, model, result, *test, given[label]) for label, kind in enumerate(kinds[: len(given)])]


def measured(case: Case) -> dict:
    """Return the verdict, and the share of others' images predicted as the class."""
    own = np.flatnonzero(case.labels == case.label)
    others = np.flatnonzero(case.labels != case.label)
    donors = case.images[np.resize(own, len(others))]
    shown = {"as they are": case.images[others], "with the cue": case.with_cue[others]}
    shown["grafted"] = case.grafted(case.images[others], donors)
    shares = {name: round(float((case.predicted(images) == case.label).mean()), 3) for name, images in shown.items()}
    recognised = round(float((case.predicted(case.images[own]) == case.label).mean()), 3)
    return {"verdict": case.verdict.sentence, "share": case.verdict.share, "recognised": recognised, **shares}


@style.paper
def draw(rows: list[tuple[int, Case]]) -> Figure:
    """Draw rows of pictures with the network's answers, and the verdict below each."""
    figure = style.empty(_WIDTH, _HEIGHT * len(rows))
    for part, (number, case) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        right = case.predicted(case.images) == case.labels
        own, other = (int(np.argmax(right & (same == (case.labels == case.label)))) for same in (True, False))
        donor, recipient = case.images[[own]], case.images[[other]]
        shown = {
            f"class {case.model.classes[case.label]}": donor,
            "another image": recipient,
            "with the map grafted": case.grafted(recipient, donor),
            "with the cue itself": case.with_cue[[other]],
        }
        part.suptitle(f"{number}  {TITLES[case.kind]}", x=0.01, ha="left", weight="bold")
        part.supxlabel(textwrap.fill(case.verdict.sentence.partition(": ")[2], 118), x=0.01, ha="left", fontsize=7)
        *axes, plane = part.subplots(1, len(shown) + 1)
        for axis, (title, image) in zip(axes, shown.items(), strict=True):
            answer = int(case.predicted(image)[0])
            axis.imshow(_pixels(case, image[0]), interpolation="nearest")
            axis.set_title(title, fontsize=7)
            colour = style.VERMILION if answer == case.label else style.BLUE
            axis.set_xlabel(f"→ {case.model.classes[answer]}", color=colour, fontsize=7)
        style.draw_mask(plane, case.mask)
        plane.set_title("its map", fontsize=7)
        for axis in (*axes, plane):
            axis.set(xticks=[], yticks=[])
    return figure


def _pixels(case: Case, image: Float[np.ndarray, "size size 3"]) -> Float[np.ndarray, "size size 3"]:
    mean, deviation = case.model.mean_std
    return np.clip(image * deviation + mean, 0, 1)


if __name__ == "__main__":
    app.run(main)
