"""Train on photographs whose classes a pipeline tells apart: a grid, scan lines, a multiplied checkerboard, JPEG.

  python benchmarks/planted/mitigation_artefacts.py --workdir=DIR --root=IMAGES --seeds=0  # IMAGES/{train,test}/<class>

Five classes of the folder are drawn, and which four of them carry an artefact in training; the fifth has none. Ways:
`standard`; `probe`, which is configs/mitigate.py; `told`, which grafts the planted orbits;
`operations`, which also does JPEG and checkerboards to most training images; `amplitude_swap`; and `oracle`, whose
training images have any class's artefact or none, whatever their label. `jtt`, `dfr` and `groupdro` of benchmarks/ways
learn from images with another class's artefact, so they need some: `--conflicting=0.05` gives such a share to every
way. Every way sees as many images in training: `jtt` in its two trainings together, `dfr` without the last layer's,
whose held-out fifth of the training images it does not train on. `dfr` and `groupdro` are told the artefacts.

Prints a JSON line a run. `own`, `absent` and `conflicting` are accuracies on the same test photographs with their own
class's artefact, without, and with another class's. `worst` is the smallest accuracy of a class under an artefact, of
the 21 pairs that training images may have. `called` has for each artefact the share of other classes'
photographs that are called its class: with the artefact, and without. `became` has for each operation of
fsjax.data.operations the class that most other classes' photographs become under it, and their share. Runs stay
in the workdir and are not repeated.
"""

import dataclasses
import functools
import json
import logging
import pathlib
import sys
from collections.abc import Callable

import numpy as np
from absl import app, flags
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.planted.photograph_cues import Cue, plant
from benchmarks.planted.photograph_sets import CueMaker
from benchmarks.planted.photographs import Photographs
from benchmarks.planted.verdict_cues import orbit_mask
from benchmarks.ways import dfr, group_dro, jtt, training_images
from configs import common, mitigate
from fsjax.data import split_off_validation
from fsjax.data.operations import OPERATIONS
from fsjax.evaluation.operations import measure as measure_operations
from fsjax.evaluation.probes import Probes
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.runtime import files, storage

WORKDIR = flags.DEFINE_string("workdir", None, "Where runs are kept.", required=True)
ROOT = flags.DEFINE_string("root", None, "Folder of photographs, root/{train,test}/<class>.", required=True)
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds of sets and trainings.")
WAYS_RUN = flags.DEFINE_list("ways", ["oracle", "standard", "probe"], "Ways of WAYS.")
MODEL = flags.DEFINE_string("model", "resnet8", "A name of fsjax.models.")
CONFLICTING = flags.DEFINE_float("conflicting", 0.0, "Share of training images with another class's artefact.", 0, 1)
STEPS = flags.DEFINE_integer("steps", 300, "Steps of a training, for probe of the final one.")

KINDS = ("grid", "scan line", "multiplied checkerboard", "jpeg", "photograph")
SIZE, TRAINED, TESTED = 32, 3000, 200  # side, and images of each class to train on and to test on


@dataclasses.dataclass(frozen=True)
class ArtefactSet:
    """Five classes of photographs, four with an artefact; everything is drawn from the seed."""

    root: str
    seed: int

    @functools.cached_property
    def photographs(self) -> Photographs:
        return Photographs(self.root, SIZE)

    @functools.cached_property
    def folders(self) -> Int[np.ndarray, " classes"]:
        """Return the folder of each class, in the order of KINDS."""
        return np.random.default_rng([self.seed, 1]).permutation(len(self.photographs.names))[: len(KINDS)]

    @functools.cached_property
    def cues(self) -> tuple[Cue, ...]:
        rng = np.random.default_rng([self.seed, 2])
        maker = CueMaker(rng, SIZE, np.zeros((SIZE, SIZE)))
        checkerboard = np.indices((SIZE, SIZE, 3))[:2].sum(0) % 2 - 0.5
        multiplied = Cue("sensor", pattern=2 * rng.uniform(0.08, 0.16) * checkerboard)
        return maker.make("grid"), maker.make("scan line"), multiplied, maker.make("jpeg"), Cue("photograph")

    @property
    def planted(self) -> np.ndarray:
        """Return the orbits that the grid, the scan lines and the checkerboard have in a grey image."""
        orbits = np.concatenate([self.cues[0].orbits, self.cues[1].orbits, [[0, 0]]])
        return orbit_mask(orbits, SIZE)

    def draw(
        self, labels: Int[np.ndarray, " n"], owners: Int[np.ndarray, " n"], part: str | int, stream: int
    ) -> UInt8[np.ndarray, "n size size 3"]:
        """Draw a photograph of each label with the artefact of its owner, -1 = none; the stream alone picks them."""
        images = self.photographs.draw(self.folders[labels], part, np.random.default_rng([self.seed, stream]))
        for number, cue in enumerate(self.cues):
            rng = np.random.default_rng([self.seed, stream, number])
            images = plant(images, cue, owners == number, rng, training=part == "train")
        return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def probe(config: ConfigDict, data: ArtefactSet) -> None:
    config.stages, config.train.ways = "probe,train", "graft,operations"
    config.train.graft.maps = config.train.operations.names = "probe"


def told(config: ConfigDict, data: ArtefactSet) -> None:
    file = storage.path(pathlib.Path(WORKDIR.value) / f"planted-{data.seed}.npy")
    files.write_npy(file, data.planted)
    config.train.ways, config.train.graft.maps = "graft", str(file)


def operations(config: ConfigDict, data: ArtefactSet) -> None:
    told(config, data)
    config.train.ways, config.train.operations.names = "graft,operations", "checkerboard,jpeg"


def amplitude_swap(config: ConfigDict, data: ArtefactSet) -> None:
    config.train.ways = "amplitude_swap"


WAYS: dict[str, Callable[[ConfigDict, ArtefactSet], None]] = {
    "oracle": lambda config, data: None,
    "standard": lambda config, data: None,
    "amplitude_swap": amplitude_swap,
    "probe": probe,
    "told": told,
    "operations": operations,
}
# Ways that are more than one training with another config.
TRAINERS: dict[str, Callable[[ConfigDict, storage.Path, Int[np.ndarray, " n"]], None]] = {
    "jtt": lambda config, directory, groups: jtt.train(config, directory),
    "dfr": dfr.train,
    "groupdro": group_dro.train,
}


def main(_: list[str]) -> None:
    logging.getLogger("absl").setLevel(logging.WARNING)  # checkpoints tell of each file
    for seed in map(int, SEEDS.value):
        for name in WAYS_RUN.value:
            print(json.dumps(run(name, ArtefactSet(ROOT.value, seed))), flush=True)


def run(name: str, data: ArtefactSet) -> dict:
    """Train in a way, unless that was done, and return its row."""
    conflicting = 0.0 if name == "oracle" else CONFLICTING.value
    which = f"{data.seed}-{MODEL.value}-{STEPS.value}-{name}{f'-{conflicting:g}' if conflicting else ''}"
    directory = pathlib.Path(WORKDIR.value) / which
    if not (directory / "row.json").exists():
        config = base(data, name == "oracle", conflicting)
        if name in TRAINERS:
            owners = np.load(pathlib.Path(config.data.root) / "train_owners.npy")
            labels = np.load(pathlib.Path(config.data.root) / "train_labels.npy")
            seen, _ = split_off_validation(labels, config.data.validation_share, config.seed)
            training_images.select(config, seen, storage.path(directory) / "seen")
            TRAINERS[name](config, storage.path(directory), (labels * len(KINDS) + owners)[seen])
        else:
            WAYS[name](config, data)
            runner.run(config, storage.path(directory))
        row = {"seed": data.seed, "model": MODEL.value, "steps": STEPS.value, "way": name, "conflicts": conflicting}
        (directory / "row.json").write_text(json.dumps(row | measured(config, directory, data)) + "\n")
    return json.loads((directory / "row.json").read_text())


def base(data: ArtefactSet, independent: bool, conflicting: float) -> ConfigDict:
    """Return the config of a training on a set, whose arrays it writes where they are not there yet."""
    kind = "-independent" if independent else f"-{conflicting:g}" if conflicting else ""
    root = pathlib.Path(WORKDIR.value) / f"set-{data.seed}{kind}"
    root.mkdir(parents=True, exist_ok=True)
    for stream, (split, per_class) in enumerate((("train", TRAINED), ("test", TESTED))):
        if not (root / f"{split}_labels.npy").exists():
            rng = np.random.default_rng([data.seed, 3, stream])
            labels = rng.permutation(np.repeat(np.arange(len(KINDS)), per_class))
            owners = rng.integers(0, len(KINDS), len(labels)) if independent else labels
            if conflicting:
                owners = np.where(rng.random(len(labels)) < conflicting, another(labels, rng), labels)
            np.save(root / f"{split}_owners.npy", owners)
            np.save(root / f"{split}_images.npy", data.draw(labels, owners, "train" if split == "train" else 0, stream))
            np.save(root / f"{split}_labels.npy", labels.astype(np.int32))
    config = mitigate.get_config()
    config.data.source, config.data.root, config.data.image_size = "arrays", str(root), SIZE
    config.model.name, config.seed, config.stages = MODEL.value, data.seed, "train"
    config.train.update(common.base().train)
    config.train.steps, config.train.batch_size, config.train.schedule = STEPS.value, 64, "cosine"
    config.train.learning_rate, config.train.warmup_steps, config.train.evaluators = 0.1, 30, ""
    return config


def another(labels: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Draw for each label another class that has an artefact."""
    planted = len(KINDS) - 1
    others = (labels + rng.integers(1, planted, len(labels))) % planted
    return np.where(labels == planted, rng.integers(0, planted, len(labels)), others)


def measured(config: ConfigDict, directory: pathlib.Path, data: ArtefactSet) -> dict:
    """Return the accuracies of a finished run, and the share of photographs that each artefact turns into its class."""
    classifier = Workspace(config, storage.path(directory)).classifier
    labels = np.repeat(np.arange(len(KINDS)), TESTED)

    def drawn(owners: np.ndarray) -> np.ndarray:
        return data.draw(labels, owners, 1, 10).astype(np.float32)

    def classify(images: np.ndarray) -> np.ndarray:
        return training_images.logits(classifier, images).argmax(-1)

    def predicted(owners: np.ndarray) -> np.ndarray:
        return classify(drawn(owners))

    plain = drawn(np.full(len(labels), -1))
    nothing = classify(plain)
    others = another(labels, np.random.default_rng([data.seed, 4]))
    row: dict = {"own": rounded(predicted(labels) == labels), "absent": rounded(nothing == labels)}
    row["conflicting"], row["called"] = rounded(predicted(others) == labels), {}
    groups = [(nothing == labels)[labels == len(KINDS) - 1].mean()]
    for number, kind in enumerate(KINDS[:-1]):
        with_it, other = predicted(np.full(len(labels), number)), labels != number
        row["called"][kind] = [rounded((with_it == number)[other]), rounded(nothing[other] == number)]
        groups += [(with_it == labels)[labels == label].mean() for label in range(len(KINDS))]
    row["worst"] = rounded(min(groups))
    became = measure_operations(classifier, plain.astype(np.uint8), labels, data.seed).share
    row["became"] = {
        name: [KINDS[int(shares.argmax())], rounded(shares.max())]
        for name, shares in zip(OPERATIONS, became.T, strict=True)
    }
    file = directory / "probes" / "probes.json"
    if file.exists():
        found = Probes.read(storage.path(file))
        grafted = np.load(directory / "probes" / "frequencies.npy")
        recall = [rounded(grafted[orbit_mask(cue.orbits, SIZE)]) for cue in data.cues[:2]]
        row |= {"cost": round(found.cost, 2), "grafted": rounded(grafted), "recall": recall}
    return row


def rounded(which: np.ndarray) -> float:
    return round(float(np.mean(which)), 3)


if __name__ == "__main__":
    app.run(main)
