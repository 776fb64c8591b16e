"""Measure whether a search finds the frequencies that a classifier is known to rely on: the planted-truth benchmark.

  python benchmarks/planted/recall.py --table                                # every registered method, analytic model
  python benchmarks/planted/recall.py --model=trained --set=single,pair  # trains a small network a set, a minute each
  python benchmarks/planted/recall.py --method=removal,graft --size=32,64
  python benchmarks/planted/recall.py --seed=0,1,2 --table  # in the table: the mean [the least, the greatest]

Sets (sets.py): planted orbits indicate a class alone, only as whole pairs or triples, or redundantly. Distractors carry
no class information. Models (models.py): `analytic` has logits that are a closed form of the planted orbits, so it
relies on the planted orbits only. `trained` is a perceptron on the amplitudes of the whole plane and `trained_vit` a
ViT; what they rely on is measured. The ViT learns `single` but not the joint sets. A method gets the training images
and a budget equal to the number of planted positions of a class. Its masks are evaluated on separate test images.

Prints one JSON object a line for a method on a set under a model, with means over the classes that own planted orbits:

  set, size, model, method, seed, images    images: number of searched images of a class
  planted_orbits, kept_orbits               number of orbits planted in the class, and number that its mask keeps
  precision, recall, chance                 of the mask; chance: recall of as many orbits drawn at random
  average_precision                         of the ranking; null for methods that give none
  sufficient                                share of classes whose mask holds all groups (`redundant`: one of them)
  tpr, fpr                                  test images called the class through its mask: of the class, of others
  forward_equivalents, seconds              cost, with compilation; a backward pass counts 2

Further rows have model-independent control masks of the same budget: `random`, `low_pass` and `highest_energy`. The row
`truth` has the planted orbits themselves and the model's reliance on them: accuracy and tpr_unfiltered on unfiltered
images, and tpr_without, the TPR when only the class's planted orbits are removed.

How to read it. On `single`, `pair` and `triple` under `analytic` a correct search has recall 1. On `redundant` one
group is enough, so a search for a sufficient mask succeeds if sufficient = 1 and tpr = 1, at any recall. A search that
removes one orbit at a time detects nothing there under `analytic`; a trained network is less sure without a group, so
there it does. Under trained models recall compares with the frequencies in the data, not with those that the model
uses: read it together with tpr, and with tpr and tpr_without of `truth`.

Your own method may be anything that returns masks, bool [classes, H, W] on the centred plane (DC at (H//2, W//2)).

  from benchmarks.planted import models, score, sets
  data = sets.make_set("pair", size=32, seed=0)
  logits_fn = models.analytic(data)  # images [n, H, W, 3] -> logits [n, 4], by JAX
  masks = my_search(logits_fn, data.images["train"], data.labels["train"], share=data.share)
  print(score.score(masks, data, logits_fn))  # scores=[classes, H, W] too, for average_precision

Methods of fsjax are read from fsjax.search.SEARCHES.
"""

import itertools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.planted import models
from benchmarks.planted.score import called_share, predict, score
from benchmarks.planted.sets import CLASSES, KINDS, PlantedSet, make_set
from fsjax.fourier import masks, spectrum
from fsjax.runtime import startup
from fsjax.search import SEARCHES

MODELS = {name: getattr(models, name) for name in ("analytic", "trained", "trained_vit")}

METHOD = flags.DEFINE_list("method", [], "Names of fsjax.search.SEARCHES; all that search by default.")
SET = flags.DEFINE_list("set", list(KINDS), f"Kinds of set: {', '.join(KINDS)}.")
SIZE = flags.DEFINE_list("size", ["32"], "Sides of the images, pixels.")
MODEL = flags.DEFINE_list("model", ["analytic"], f"Kinds of model: {', '.join(MODELS)}.")
IMAGES = flags.DEFINE_integer("images", 32, "Searched images of a class.")
SEED = flags.DEFINE_list("seed", ["0"], "Seeds of the planted orbits, the images, the training and the search.")
TABLE = flags.DEFINE_bool("table", False, "Print a Markdown table at the end.")

for _flag, _accepted in (("method", SEARCHES), ("set", KINDS), ("model", MODELS)):
    flags.register_validator(_flag, set(_accepted).issuperset, f"expected {', '.join(_accepted)}")


def main(_: list[str]) -> None:
    startup.use_cores(128)
    methods = METHOD.value or [name for name in SEARCHES if name != "imported"]
    printed = []
    for kind, size, seed in itertools.product(SET.value, map(int, SIZE.value), map(int, SEED.value)):
        data = make_set(kind, size, train=IMAGES.value, seed=seed)
        for model in MODEL.value:
            for row in rows(data, model, methods, seed=seed):
                print(json.dumps(row), flush=True)
                printed.append(row)
    if TABLE.value:
        print(table(printed))


def rows(data: PlantedSet, model: str, methods: Sequence[str], *, seed: int = 0) -> Iterator[dict]:
    """Yield the rows of a set under a model: the truth, the control masks, then each method when it is done."""
    logits_fn = MODELS[model](data, seed)
    settings = {"benchmark": "planted", "set": data.kind, "size": data.size, "model": model, "seed": seed}
    settings["images"] = int((data.labels["train"] == 0).sum())
    yield {**settings, "method": "truth", **score(data.planted, data, logits_fn), **reliance(data, logits_fn)}
    for name, class_masks in trivial_masks(data, seed).items():
        yield {**settings, "method": name, **score(class_masks, data, logits_fn)}
    for method in methods:
        yield {**settings, "method": method, **searched(method, data, logits_fn, seed)}


def searched(method: str, data: PlantedSet, logits_fn: Callable, seed: int) -> dict:
    """Return the score of a method of fsjax, with its cost."""
    started = time.perf_counter()
    maps = fsjax.dominant_frequencies(
        logits_fn,
        data.images["train"],
        data.labels["train"],
        search=method,
        shares=(data.share,),
        seed=seed,
    )
    cost = {"forward_equivalents": maps.forward_equivalents, "seconds": round(time.perf_counter() - started, 2)}
    return {**score(maps.at(data.share), data, logits_fn, maps.scores), **cost}


def reliance(data: PlantedSet, logits_fn: Callable) -> dict[str, float]:
    """Return accuracy and TPR on unfiltered images, and the TPR without the planted orbits of the class."""
    everything = np.ones((data.size, data.size), bool)
    owners = range(len(data.groups))
    return {
        "accuracy": float((predict(logits_fn, data.images["test"], everything) == data.labels["test"]).mean()),
        "tpr_unfiltered": float(np.mean([called_share(logits_fn, data, c, everything)[0] for c in owners])),
        "tpr_without": float(np.mean([called_share(logits_fn, data, c, ~data.planted[c])[0] for c in owners])),
    }


def trivial_masks(data: PlantedSet, seed: int) -> dict[str, np.ndarray]:
    """Return model-independent control masks [classes, H, W] with as many positions as are planted in a class."""
    plane, positions = (data.size, data.size), int(data.planted[0].sum())
    rng = np.random.default_rng([seed, 4])
    images, labels = data.images["train"], data.labels["train"]
    energy = (np.asarray(spectrum.amplitude(jnp.asarray(images))) ** 2).mean(-1)
    return {
        "random": np.stack([masks.random(*plane, positions, rng) for _ in range(CLASSES)]),
        "low_pass": np.stack([masks.low_pass(*plane, positions)] * CLASSES),
        "highest_energy": np.stack(
            [masks.best_orbits(energy[labels == label].mean(0), positions) for label in range(CLASSES)]
        ),
    }


def table(finished: Sequence[dict]) -> str:
    """Return the rows as a Markdown table, with one row for all seeds."""
    names = ("set", "size", "model", "method")
    columns = ("recall", "precision", "average_precision", "sufficient", "tpr", "fpr", "forward_equivalents", "seconds")
    lines = [(*names, *columns), ["---"] * len(names + columns)]
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in finished):
        of_key = [row for row in finished if tuple(row[name] for name in names) == key]
        lines.append([*map(str, key), *(_cell([row.get(name) for row in of_key]) for name in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(values: Sequence[int | float | None]) -> str:
    """Return the mean and, if the values differ, the least and the greatest."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    form = "{:,.0f}" if all(isinstance(value, int) for value in known) else "{:.2f}"
    mean, least, most = (form.format(value) for value in (sum(known) / len(known), min(known), max(known)))
    return mean if min(known) == max(known) else f"{mean} [{least}, {most}]"


if __name__ == "__main__":
    app.run(main)
