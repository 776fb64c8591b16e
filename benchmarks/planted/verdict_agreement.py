"""Compare grafts of planted orbits with the generator's own counterfactual, or a first look with the full verdict.

  python benchmarks/planted/verdict_agreement.py --seed=1000 --networks=14 --cache=DIR
  python benchmarks/planted/verdict_agreement.py --seed=2000 --networks=20 --cache=DIR --quick

Covers each class whose cue adds orbits (not phase-locked and ignored cues). `grafted` is the rate at which other images
with the class's orbits grafted in are predicted as the class; `given` the rate when the generator adds the cue to the
same images. `replaced` is the rate at which images of the class with others' orbits grafted in still are predicted as
it; `without` the rate when the generator leaves the cue out. Prints one JSON object a class, then the mean absolute
differences and the correlations over all classes.

--quick prints each class's kind by `fsjax.analyse(..., quick=True)` and by the same call without it, on the images of
verdict.py; then the share of classes with the same kind, how many are undecided in one of the two only, and how many
are a shortcut in the first look and another decided kind in full.
"""

import json
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.planted import verdict_networks
from benchmarks.planted.verdict_networks import Network
from benchmarks.planted.verdict_truth import called
from fsjax.fourier import spectrum
from fsjax.runtime import startup

ADDED = ("high", "low", "few", "redundant", "competition")
_IMAGES, _SEED = 500, 3

SEED = flags.DEFINE_integer("seed", 1000, "Seed of the first network; the others follow.")
NETWORKS = flags.DEFINE_integer("networks", 14, "Number of networks.")
CACHE = flags.DEFINE_string("cache", None, "Folder where trained networks are kept.", required=True)
QUICK = flags.DEFINE_boolean("quick", False, "Compare a first look with the full verdict.")


def main(_: list[str]) -> None:
    startup.use_cores(128)
    rows = []
    for seed in range(SEED.value, SEED.value + NETWORKS.value):
        network = verdict_networks.load_or_train(CACHE.value, seed)
        if QUICK.value:
            for row in kinds(network):
                rows.append({"seed": seed, **row})
                print(json.dumps(rows[-1]), flush=True)
            continue
        for label, kind in enumerate(network.cue_set.kinds):
            if kind in ADDED:
                rows.append({"seed": seed, "class": label, "kind": kind, **agreement(network, label)})
                print(json.dumps(rows[-1]), flush=True)
    summary: dict = {"classes": len(rows)}
    if QUICK.value:
        summary["same kind"] = round(float(np.mean([row["quick"] == row["full"] for row in rows])), 4)
        kinds_of_row = [(row["quick"], row["full"]) for row in rows]
        summary["undecided in one"] = sum(pair.count("undecided") == 1 for pair in kinds_of_row)
        summary["shortcut that is denied"] = sum(
            quick == "shortcut" and full not in ("shortcut", "undecided") for quick, full in kinds_of_row
        )
        print(json.dumps(summary))
        return
    for graft, truth in (("grafted", "given"), ("replaced", "without")):
        pairs = np.array([[row[graft], row[truth]] for row in rows])
        summary[f"{graft} - {truth}"] = round(float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()), 4)
        summary[f"correlation with {truth}"] = round(float(np.corrcoef(pairs.T)[0, 1]), 3)
    print(json.dumps(summary))


def kinds(network: Network) -> list[dict]:
    """Return the planted cue of each class, its kind in a first look, and its kind in full."""
    splits = verdict_networks.splits(network)
    quick, full = (fsjax.analyse(network.model, **splits, seed=network.seed, quick=quick) for quick in (True, False))
    verdicts = zip(network.cue_set.kinds, quick.verdicts, full.verdicts, strict=True)
    return [
        {"class": label, "cue": cue, "quick": looked.kind, "full": judged.kind, "psi": [looked.psi, judged.psi]}
        for label, (cue, looked, judged) in enumerate(verdicts)
    ]


def agreement(network: Network, label: int) -> dict[str, float]:
    """Return the four rates of a class."""
    cue_set, model, classes = network.cue_set, network.model, network.cue_set.num_classes
    own = np.full(_IMAGES, label)
    others = np.delete(np.arange(classes), label)[np.arange(_IMAGES) % (classes - 1)]
    left_out = others if classes > 2 else None
    class_images, other_images = cue_set.draw(own, _SEED), cue_set.draw(others, _SEED + 1)
    mask = cue_set.masks()[label][None]
    grafted, replaced = (
        recipients + np.asarray(spectrum.filter_images(jnp.asarray(donors - recipients), jnp.asarray(mask)))[0]
        for recipients, donors in ((other_images, class_images), (class_images, other_images))
    )
    return {
        "grafted": called(model, grafted, label, left_out),
        "given": called(model, cue_set.draw(others, _SEED + 1, given=label), label, left_out),
        "replaced": called(model, replaced, label),
        "without": called(model, cue_set.draw(own, _SEED, without=True), label),
    }


if __name__ == "__main__":
    app.run(main)
