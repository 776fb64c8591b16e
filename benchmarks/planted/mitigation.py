"""Compare ways of training on planted shortcuts: their accuracy where shortcuts are absent or false (docs/planted.md).

  python benchmarks/planted/mitigation.py --workdir=DIR --kinds=high --seeds=0  # about 20 minutes on two cores
  python benchmarks/planted/mitigation.py --workdir=DIR --ways=standard,probe,told --model=vit_micro_patch4
  python benchmarks/planted/mitigation.py --workdir=DIR --root=IMAGES --kinds=high --strength=0.5  # on real images

`probe` is configs/mitigate.py; `reused` trains another network with its frequencies, as long as probe's final training.
To add a way, add a function (config, set) -> config to WAYS.

Prints a JSON line a run and a line a set. `as_in_training`, `absent` and `conflicting` are accuracies on 300 test
images a class: over all classes, and of the worst class. With `--silhouettes` 300 is divided by their number, and the
worst group of classes that share a shortcut counts. `robust` is the worst class's smaller accuracy of absent and
conflicting, and `share` is `robust` over the oracle's. `corrupted` are accuracies without shortcuts in five corruptions
of middle severity, `fgsm` is the accuracy under FGSM of 2/255. Runs stay in the workdir and are not repeated.
"""

import copy
import functools
import json
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.planted.mitigation_sets import CHANNELS, TEST, TRAIN, VALIDATE, BiasedSet
from benchmarks.planted.mitigation_shortcuts import KINDS
from benchmarks.ways import rivals
from configs import common, mitigate
from fsjax.data.dataset import ArrayDataset
from fsjax.evaluation.ood import attacks
from fsjax.evaluation.ood.attacks import make_attacker
from fsjax.evaluation.ood.corruptions import CORRUPTIONS, corrupted
from fsjax.evaluation.probes import Probes
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.runtime import files, storage
from fsjax.training import ways

WORKDIR = flags.DEFINE_string("workdir", None, "Where runs are kept.", required=True)
KINDS_RUN = flags.DEFINE_list("kinds", list(KINDS), "Kinds of sets.")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds of sets and trainings.")
WAYS_RUN = flags.DEFINE_list("ways", [], "Ways of WAYS; none = all. The oracle always runs.")
MODEL = flags.DEFINE_string("model", "resnet10w16_imagenet", "A name of fsjax.models.")
STEPS = flags.DEFINE_integer("steps", 1400, "Steps of the final training of probe; all others take COST as many.")
SIZE = flags.DEFINE_integer("size", 32, "Side of the images.")
ROOT = flags.DEFINE_string("root", "", "Folder of real images, root/{train,test}/<class>; none = noise and shapes.")
STRENGTH = flags.DEFINE_float("strength", 1.0, "Factor on the shortcuts.")
SHAPES = flags.DEFINE_integer("shapes", 1, "Shapes in an image without root, for 4, 16 or 64 classes.", 1, 3)
SILHOUETTES = flags.DEFINE_list(
    "silhouettes", [], "How many in each of 1 to 3 channels, in place of shapes; 16,16 = 256 classes, 10,10,10 = 1,000."
)
PER_CLASS = flags.DEFINE_integer("per_class", 1500, "Training images of each class, at most.")

# Images of each class to validate on, and to test on, over the shapes of an image or a channel's silhouettes.
TESTED = 300
SEVERITY, ATTACK = 2, "fgsm:2/255"
# Most images that probe trains on, over the images of its final training, unless short trainings have to be longer.
COST = 1.9


def plain(config: ConfigDict, data: BiasedSet) -> ConfigDict:
    """Return the config of a standard training of as many images as probe's."""
    config.train.steps = round(COST * STEPS.value)
    return config


def probe(config: ConfigDict, data: BiasedSet) -> ConfigDict:
    """Return the config of configs/mitigate.py."""
    config.stages = "probe,train"
    config.train.ways, config.train.graft.maps = "graft", "probe"
    return config


def reused(config: ConfigDict, data: BiasedSet) -> ConfigDict:
    """Return the config of a fresh training, as long as probe's final one, that grafts what probe found."""
    run("probe", probe, data)
    file, config.seed = run_directory("probe", data) / "probes" / "frequencies.npy", data.seed + 100
    config.train.ways, config.train.graft.maps = "graft", str(file)
    return config


def grafted(config: ConfigDict, data: BiasedSet, random: bool = False) -> ConfigDict:
    """Return the config of a training that grafts the planted frequencies, or as many others."""
    mask = data.shortcut.planted
    if random:
        rng, mask = np.random.default_rng(data.seed), np.zeros_like(mask)
        while mask.mean() < 0.05:
            row, column = rng.integers(1, data.size, 2)
            mask[row, column] = mask[-row, -column] = True
    if not mask.any():
        return plain(config, data)
    file = set_folder(data) / f"{'random' if random else 'planted'}.npy"
    files.write_npy(storage.path(file), mask)
    config.train.ways, config.train.graft.maps = "graft", str(file)
    return plain(config, data)


def way(name: str, config: ConfigDict, data: BiasedSet) -> ConfigDict:
    """Return the config of a way of fsjax.training.ways or benchmarks/ways, whose copies count as images."""
    rivals.add(config.train)
    config.train.ways = name
    config.train.steps = round(COST * STEPS.value / ways.passes(config.train))
    return config


def pruned(config: ConfigDict, data: BiasedSet) -> ConfigDict:
    """Return the config of a training without the lowest frequencies, which test images lack as well."""
    config.data.frequencies = "high:0.0625"
    return plain(config, data)


def dfmx(config: ConfigDict, data: BiasedSet) -> ConfigDict:
    """Return the config of DFM-X with maps at 5 % that the graft search finds in the standard training."""
    found = plain(base(data, "own"), data)
    found.stages = "train,search"
    run("standard", plain, data)
    runner.run(found, storage.path(run_directory("standard", data)))
    config.train.dfmx.maps = str(run_directory("standard", data))
    return plain(config, data)


WAYS: dict[str, Callable[[ConfigDict, BiasedSet], ConfigDict]] = {
    "standard": plain,
    "probe": probe,
    "reused": reused,
    "told": grafted,
    "random orbits": functools.partial(grafted, random=True),
    "low pruned": pruned,
    "dfmx": dfmx,
    **{name: functools.partial(way, name) for name in ("amplitude_swap", "orbit_dropout", "afa", "amplitude_dropout")},
}


def main(_: list[str]) -> None:
    logging.getLogger("absl").setLevel(logging.WARNING)  # checkpoints tell of each file
    for data in sets():
        oracle = run("oracle", plain, data)
        robust = {"oracle": oracle["robust"]}
        for name in WAYS_RUN.value or WAYS:
            robust[name] = run(name, WAYS[name], data)["robust"]
        shares = {name: round(value / (oracle["robust"] or 1), 3) for name, value in robust.items()}
        print(json.dumps({"set": set_name(data), "seed": data.seed, "model": MODEL.value, "share": shares}), flush=True)


def sets() -> Iterator[BiasedSet]:
    """Yield the sets that the flags name; raise UsageError where they name none."""
    if sum(map(bool, (ROOT.value, SHAPES.value != 1, SILHOUETTES.value))) > 1:
        raise app.UsageError("expected one of --root, --shapes and --silhouettes at most: each defines the classes")
    silhouettes = tuple(map(int, SILHOUETTES.value))
    if len(silhouettes) > len(CHANNELS) or min(silhouettes, default=2) < 2:
        raise app.UsageError(f"--silhouettes: got {silhouettes}; expected 1 to {len(CHANNELS)} numbers of 2 or more")
    if "cue" in KINDS_RUN.value and (ROOT.value or silhouettes):
        raise app.UsageError("--kinds: got cue, which needs shapes; expected others with --root or --silhouettes")
    for kind in KINDS_RUN.value:
        for seed in map(int, SEEDS.value):
            yield BiasedSet(kind, SIZE.value, seed, ROOT.value, STRENGTH.value, SHAPES.value, silhouettes)


def set_name(data: BiasedSet, *seed: int) -> str:
    """Return the name of a set, with its seed where that is given."""
    parts: list = [pathlib.Path(data.root).name] if data.root else []
    parts += [data.kind, data.size, *seed]
    if data.strength != 1:
        parts += [f"{data.strength:g}"]
    if data.shapes != 1 or data.silhouettes:
        parts += [len(data.classes), "classes"]
    if PER_CLASS.value != PER_CLASS.default:
        parts += ["of", PER_CLASS.value]
    return "-".join(map(str, parts))


def set_folder(data: BiasedSet) -> pathlib.Path:
    return pathlib.Path(WORKDIR.value) / set_name(data, data.seed)


def run_directory(name: str, data: BiasedSet) -> pathlib.Path:
    return set_folder(data) / f"{MODEL.value}-{STEPS.value}-{name.replace(' ', '_')}"


def run(name: str, configured: Callable, data: BiasedSet) -> dict:
    """Train in a way, unless that was done, and return its row."""
    directory = run_directory(name, data)
    if not (directory / "row.json").exists():
        config = configured(base(data, "any" if name == "oracle" else "own"), data)
        runner.run(config, storage.path(directory))
        row = {"set": set_name(data), "seed": data.seed, "model": MODEL.value, "steps": STEPS.value, "way": name}
        (directory / "row.json").write_text(json.dumps(row | measured(config, directory, data)) + "\n")
    row = json.loads((directory / "row.json").read_text())
    print(json.dumps(row), flush=True)
    return row


def base(data: BiasedSet, shown: str) -> ConfigDict:
    """Return the config of a training on a set, whose arrays it writes where they are not there yet."""
    root = set_folder(data) / shown
    root.mkdir(parents=True, exist_ok=True)
    for split, per_class, stream in (("train", PER_CLASS.value, TRAIN), ("test", tested_per_class(data), VALIDATE)):
        if not (root / f"{split}_labels.npy").exists():
            images, labels = data.draw(per_class, shown, stream)
            np.save(root / f"{split}_images.npy", images)
            np.save(root / f"{split}_labels.npy", labels.astype(np.int32))
    config = mitigate.get_config()
    config.data.source, config.data.root, config.data.image_size = "arrays", str(root), data.size
    config.model.name, config.seed, config.stages = MODEL.value, data.seed, "train"
    config.train.update(common.base().train)
    config.train.steps, config.train.batch_size, config.train.schedule = STEPS.value, 64, "cosine"
    config.train.warmup_steps, config.train.evaluators = 30, ""
    if MODEL.value.startswith("vit"):
        config.train.optimizer, config.train.learning_rate, config.train.weight_decay = "adamw", 1e-3, 0.05
    else:
        # With 0.05 a network learned one of two silhouettes of 32 in 243,000 images, with 0.1 of 16 both.
        config.train.learning_rate = 0.1 if data.silhouettes else 0.05
    return config


def tested_per_class(data: BiasedSet) -> int:
    return TESTED // (max(data.silhouettes, default=0) or data.shapes)


@functools.lru_cache(maxsize=1)
def tests(data: BiasedSet) -> dict[str, ArrayDataset]:
    """Return the test images of a set, with shortcuts as in training, without, and with another class's."""
    shown = {"as_in_training": "own", "absent": "absent", "conflicting": "conflicting"}
    return {
        name: ArrayDataset(*data.draw(tested_per_class(data), how, TEST + stream), data.classes)
        for stream, (name, how) in enumerate(shown.items())
    }


def measured(config: ConfigDict, directory: pathlib.Path, data: BiasedSet) -> dict:
    """Return the accuracies of a finished run, and what its probes found."""
    workspace = Workspace(copy.deepcopy(config), storage.path(directory))
    classifier = workspace.classifier
    row: dict = {}
    worst = {}
    tested = tests(data)
    for name, dataset in tested.items():
        found = evaluate_unfiltered(classifier, dataset)
        worst[name] = float(found.tpr.reshape(-1, data.sharing).mean(1).min())
        row[name] = [round(found.accuracy, 3), round(worst[name], 3)]
    absent, numbers = tested["absent"], np.arange(len(tested["absent"].labels))
    row["corrupted"] = {
        name: round(evaluate_unfiltered(classifier, corrupted(absent, numbers, name, SEVERITY, data.seed)).accuracy, 3)
        for name in CORRUPTIONS
    }
    attacker = make_attacker(classifier.apply, classifier.mean_std, attacks.parse(ATTACK), data.seed)
    attacked = attacker(classifier.params, absent, numbers)
    row["fgsm"] = round(evaluate_unfiltered(classifier, attacked).accuracy, 3)
    row["robust"] = min(worst["absent"], worst["conflicting"])
    row["images"] = config.train.steps * config.train.batch_size * ways.passes(config.train)
    file = directory / "probes" / "probes.json"
    if file.exists():
        found = Probes.read(storage.path(file))
        grafted, planted = np.load(directory / "probes" / "frequencies.npy"), data.shortcut.planted
        row["images"] = round(found.cost * row["images"])
        row["grafted"] = round(found.share, 4)
        row["recall"] = round(float(grafted[planted].mean()), 3) if planted.any() else None
    return row


if __name__ == "__main__":
    app.run(main)
