"""Measure whether a search finds the planted frequencies that a classifier relies on; docs/planted.md explains all.

  python benchmarks/planted/recall.py --table                            # every registered method, analytic model
  python benchmarks/planted/recall.py --model=trained --set=single,pair  # trains a small network a set, a minute each
  python benchmarks/planted/recall.py --method=removal,graft --size=32,64
  python benchmarks/planted/recall.py --seed=0,1,2 --table  # in the table: the mean [minimum, maximum]

Prints a JSON object for each method on a set under a model, with means over the classes that own planted orbits. A
method gets the training images and a budget equal to the number of planted positions of a class; its masks are scored
on separate test images. Further rows have control masks of the same budget (`random`, `low_pass`, `highest_energy`) and
the planted orbits themselves (`truth`), with accuracy and TPR on unfiltered images and without the planted orbits.
`images` is the number of searched images of a class, `planted_orbits` and `kept_orbits` count the orbits of a class and
of its mask, and `forward_equivalents` and `seconds` are costs with compilation; a backward pass counts as two.

A search that removes one orbit at a time detects nothing on `redundant` under `analytic`. Trained networks may use
other frequencies than the planted ones, so read their recall together with `tpr` and with the row `truth`.
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
from benchmarks.common import markdown
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
    lines = []
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in finished):
        key_rows = [row for row in finished if tuple(row[name] for name in names) == key]
        lines.append([*map(str, key), *(_cell([row.get(name) for row in key_rows]) for name in columns)])
    return markdown.table((*names, *columns), lines)


def _cell(values: Sequence[int | float | None]) -> str:
    known = [value for value in values if value is not None]
    form = "{:,.0f}" if all(isinstance(value, int) for value in known) else "{:.2f}"
    return markdown.spread(known, form) if known else ""


if __name__ == "__main__":
    app.run(main)
