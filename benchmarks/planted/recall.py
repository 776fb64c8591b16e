"""The planted-truth benchmark: does a search find the frequencies that a classifier is known to rely on?

  python benchmarks/planted/recall.py --table                                # every registered method, analytic model
  python benchmarks/planted/recall.py --model=trained --set=single,pair  # trains a small network a set, a minute each
  python benchmarks/planted/recall.py --method=removal,adaptive --size=32,64
  python benchmarks/planted/recall.py --seed=0,1,2 --table  # in the table: the mean [the least, the greatest]

Sets (sets.py): orbits that tell a class alone, in pairs or triples that tell it only when all members are
there, or redundantly, among distractors that tell nothing. Models (models.py): `analytic`, whose logits are a
closed form of the planted orbits and which reads nothing else, so that what is planted is what it relies on; and
`trained`, a perceptron on the amplitudes of the whole plane, and `trained_vit`, whose reliance is measured: the ViT
learns `single` but not the joint sets. A method is given the training images and a budget of just as many positions as
are planted in a class; its masks are judged on test images of their own.

Prints one JSON object a line, a method on a set under a model, means over the classes that own planted orbits:

  set, size, model, method, seed, images    images: of a class, that are searched
  planted_orbits, kept_orbits               how many the class has, and how many its mask keeps
  precision, recall, chance                 of the mask; chance: recall of as many orbits drawn at random
  average_precision                         of the ranking; null for methods that give none
  sufficient                                share of classes whose mask holds all groups (`redundant`: one of them)
  tpr, fpr                                  test images called the class through its mask: of the class, of others
  forward_equivalents, seconds              spent, with compiling; a backward pass counts 2

Beside the methods stand rows that use no model: `random`, `low_pass`, `highest_energy`, at the same budget; and
`truth`, the planted orbits themselves, with the model's reliance on them: accuracy and tpr_unfiltered on whole images,
tpr_without, when the class's planted orbits are removed and all else is left.

How to read it. On `single`, `pair` and `triple` under `analytic` a correct search has recall 1. On `redundant` one
group is enough, so a search for a sufficient mask has done its work at sufficient = 1 and tpr = 1, whatever its recall;
a search that removes one orbit at a time sees nothing there (a trained network is less sure without a group, and shows
it). Under trained models recall is against what the data offers: read it together with tpr, and with tpr and
tpr_without of `truth`.

Your own method: anything that gives masks, bool [classes, H, W] on the centred plane (DC at (H//2, W//2)).

  from benchmarks.planted import models, score, sets
  data = sets.make_set("pair", size=32, seed=0)
  logits_fn = models.analytic(data)  # images [n, H, W, 3] -> logits [n, 4], by JAX
  masks = my_search(logits_fn, data.images["train"], data.labels["train"], share=data.share)
  print(score.score(masks, data, logits_fn))  # scores=[classes, H, W] too, for average_precision

A method of fsjax needs nothing: it is found in fsjax.search.SEARCHES.
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
IMAGES = flags.DEFINE_integer("images", 32, "Images of a class that are searched.")
SEED = flags.DEFINE_list("seed", ["0"], "Of what is planted, the images, the training and the search; one or more.")
TABLE = flags.DEFINE_bool("table", False, "Ends with a Markdown table.")

for _flag, _accepted in (("method", SEARCHES), ("set", KINDS), ("model", MODELS)):
    flags.register_validator(_flag, set(_accepted).issuperset, f"expected {', '.join(_accepted)}")


def main(_: list[str]) -> None:
    startup.use_cores(128)
    methods = METHOD.value or [name for name, method in SEARCHES.items() if method.resamples is not None]
    found = []
    for kind, size, seed in itertools.product(SET.value, map(int, SIZE.value), map(int, SEED.value)):
        data = make_set(kind, size, train=IMAGES.value, seed=seed)
        for model in MODEL.value:
            for row in rows(data, model, methods, seed=seed):
                print(json.dumps(row), flush=True)
                found.append(row)
    if TABLE.value:
        print(table(found))


def rows(data: PlantedSet, model: str, methods: Sequence[str], *, seed: int = 0) -> Iterator[dict]:
    """The rows of a set under a model: the truth, the masks that use no model, then each method as it is done."""
    logits_fn = MODELS[model](data, seed)
    about = {"benchmark": "planted", "set": data.kind, "size": data.size, "model": model, "seed": seed}
    about["images"] = int((data.labels["train"] == 0).sum())
    yield {**about, "method": "truth", **score(data.planted, data, logits_fn), **reliance(data, logits_fn)}
    for name, found in trivial_masks(data, seed).items():
        yield {**about, "method": name, **score(found, data, logits_fn)}
    for method in methods:
        yield {**about, "method": method, **searched(method, data, logits_fn, seed)}


def searched(method: str, data: PlantedSet, logits_fn: Callable, seed: int) -> dict:
    """The score of a method of fsjax, with what it spent."""
    started = time.perf_counter()
    maps = fsjax.dominant_frequencies(
        logits_fn,
        data.images["train"],
        data.labels["train"],
        num_classes=CLASSES,
        method=method,
        shares=(data.share,),
        seed=seed,
    )
    spent = {"forward_equivalents": maps.forward_equivalents, "seconds": round(time.perf_counter() - started, 2)}
    return {**score(maps.at(data.share), data, logits_fn, maps.scores), **spent}


def reliance(data: PlantedSet, logits_fn: Callable) -> dict[str, float]:
    """What the classifier recognises on whole images, and without what is planted in a class."""
    everything = np.ones((data.size, data.size), bool)
    owners = range(len(data.groups))
    return {
        "accuracy": float((predict(logits_fn, data.images["test"], everything) == data.labels["test"]).mean()),
        "tpr_unfiltered": float(np.mean([called_share(logits_fn, data, c, everything)[0] for c in owners])),
        "tpr_without": float(np.mean([called_share(logits_fn, data, c, ~data.planted[c])[0] for c in owners])),
    }


def trivial_masks(data: PlantedSet, seed: int) -> dict[str, np.ndarray]:
    """Masks [classes, H, W] of the planted size that no model was asked for."""
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


def table(found: Sequence[dict]) -> str:
    """The rows in Markdown, those of several seeds as one."""
    about = ("set", "size", "model", "method")
    columns = ("recall", "precision", "average_precision", "sufficient", "tpr", "fpr", "forward_equivalents", "seconds")
    lines = [(*about, *columns), ["---"] * len(about + columns)]
    for key in dict.fromkeys(tuple(row[name] for name in about) for row in found):
        of_key = [row for row in found if tuple(row[name] for name in about) == key]
        lines.append([*map(str, key), *(_cell([row.get(name) for row in of_key]) for name in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(values: Sequence[int | float | None]) -> str:
    """The mean and, where they differ, the least and the greatest."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    form = "{:,.0f}" if all(isinstance(value, int) for value in known) else "{:.2f}"
    mean, least, most = (form.format(value) for value in (sum(known) / len(known), min(known), max(known)))
    return mean if min(known) == max(known) else f"{mean} [{least}, {most}]"


if __name__ == "__main__":
    app.run(main)
