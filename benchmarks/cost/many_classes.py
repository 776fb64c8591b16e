"""Measure what many classes cost: the peak memory of each search, and the time of an evaluation.

python benchmarks/cost/many_classes.py --method=removal,hierarchical,learned --classes=250,1000
python benchmarks/cost/many_classes.py --method=evaluate --classes=10,100,1000
python benchmarks/cost/many_classes.py --method=analyse --classes=1000

No search at 224 pixels holds the whole result.

Each row is a process that searches this number of classes of random images, two a class, with a small random
classifier, and saves the maps. Masks and scores of a class are written when the class is done; an array of the result
beyond 16 MiB is a memory-mapped file. `peak_mib` is the peak of the process's own memory, without the pages of mapped
files. `result_mib` is the size that masks and scores would have in memory. `greedy` is left out: its 25,090 steps a
class are too many here.

A row of `evaluate` judges random maps of one share on 2,000 test images or more of 16 pixels, two or more a class, by
rates and grafts. CPU seconds hardly change while other work takes the cores. A row of `analyse` is the whole of
`fsjax.analyse` with its page, for two training and two test images a class of 16 pixels; `page_mb` counts the page's
folder, with the figures for print.
"""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.common import memory
from configs import common
from fsjax import search
from fsjax.data.dataset import ArrayDataset
from fsjax.engine.model import Model
from fsjax.evaluation import evaluate, rates
from fsjax.fourier import dfm, spectrum
from fsjax.runtime import startup

SIZE, PIXELS, IMAGES, SHARES = 224, 16, 2, (0.01, 0.05, 0.1, 0.2)
# The least work that each method accepts, because only memory is measured.
FIELDS = {
    "removal": {},
    "hierarchical": {"candidates": "4,4,4,4,4,4"},
    "learned": {"steps": 1, "batch": 1, "restarts": 1, "judged": 1},
}

METHOD = flags.DEFINE_list("method", list(FIELDS), "Names of fsjax.search.SEARCHES, evaluate or analyse.")
CLASSES = flags.DEFINE_list("classes", ["250", "1000"], "Numbers of classes, a row each.")
HERE = flags.DEFINE_bool("here", False, "Search in this process; set for the process of a row.")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    if HERE.value:
        (method,), (classes,) = METHOD.value, map(int, CLASSES.value)
        wholes = {"evaluate": evaluate_here, "analyse": analyse_here}
        wholes.get(method, functools.partial(search_here, method))(classes)
        return
    for method in METHOD.value:
        for classes in CLASSES.value:
            command = [sys.executable, __file__, "--here", f"--method={method}", f"--classes={classes}"]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def search_here(method: str, classes: int) -> None:
    """Search in this process and print its row."""
    startup.use_cores(128)
    options = search.options()
    options.update(method=method, patch=14, shares=SHARES)
    if FIELDS[method]:
        options[method].update(FIELDS[method])
    search.check(options, (SIZE, SIZE))
    weights = jax.random.normal(jax.random.key(0), (8 * 8 * 3, classes)) / 8
    peak = memory.Peak()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        maps = search.SEARCHES[method].search(
            search.Problem(
                model=Model(apply, weights, (SIZE, SIZE, 3)),
                images=class_images,
                counts=(IMAGES,) * classes,
                classes=tuple(f"class {label}" for label in range(classes)),
                options=options,
                run=ConfigDict({"memory_mib": 0, "save_seconds": 30.0}),
                searched_on="train",
                provenance={},
                directory=pathlib.Path(folder) / "partial",
            )
        )
        maps.save(pathlib.Path(folder) / "maps.npz")
    result = sum(array.nbytes for array in (maps.masks, maps.scores) if array is not None)
    row = {"benchmark": "many_classes", "method": method, "classes": classes, "image_size": SIZE, "images": IMAGES}
    row |= {
        "peak_mib": round(peak.stop() / 2**20),
        "result_mib": round(result / 2**20),
        "seconds": round(time.perf_counter() - started),
    }
    print(json.dumps(row))


def evaluate_here(classes: int) -> None:
    """Evaluate random maps in this process twice, and print the row of the second time, which compiles nothing."""
    rng, plane, each = np.random.default_rng(0), (PIXELS, PIXELS), max(IMAGES, 2000 // classes)
    weights, test = classifier_and_images(rng, classes, each)
    labels, names = test.labels, test.classes
    model = Model(apply, weights, (*plane, 3), names, (np.full(3, 0.5), np.full(3, 0.25)))
    scores = [rng.normal(size=spectrum.orbits(*plane).max() + 1)[spectrum.orbits(*plane)] for _ in names]
    about = {"method": "removal", "searched_on": "train", "forward_equivalents": 0, "provenance": {}}
    maps = dfm.from_scores(scores, (0.05,), classes=names, images=np.full(classes, IMAGES), **about)
    config = common.base()
    config.evaluate.pairs, config.evaluate.trigger_size, config.run.memory_mib = 8, 0, 64
    for _ in range(2):
        started, cpu_started = time.perf_counter(), time.process_time()
        found = evaluate.measure(config, model, maps, test, None)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    grafts, filtered = found.methods["removal"].grafts.made.sum(), rates.filtered_passes(len(labels), classes, 1)
    row = {"benchmark": "many_classes", "method": "evaluate", "classes": classes, "image_size": plane[0]}
    row |= {"images": each, "passes": int(len(labels) + filtered + grafts), "seconds": round(seconds, 1)}
    print(
        json.dumps(row | {"cpu_seconds": round(cpu_seconds, 1), "cpu_ms_a_class": round(cpu_seconds / classes * 1e3)})
    )


def analyse_here(classes: int) -> None:
    """Search, judge and show classes in this process, and print the row."""
    startup.use_cores(128)
    rng = np.random.default_rng(0)
    weights, train = classifier_and_images(rng, classes, IMAGES)
    test = classifier_and_images(rng, classes, IMAGES, weights)[1]
    splits = {"train": (train.images(np.arange(len(train))), train.labels)}
    splits["test"] = test.images(np.arange(len(test))), test.labels
    started = time.perf_counter()
    result = fsjax.analyse(functools.partial(apply, weights), **splits, classes=test.classes, mean_std=(0.5, 0.25))
    judged = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        page = result.report(folder)
        shown = time.perf_counter()
        sizes = [path.stat().st_size for path in page.parent.rglob("*") if path.is_file()]
    row = {"benchmark": "many_classes", "method": "analyse", "classes": classes, "image_size": PIXELS, "images": IMAGES}
    row |= {"seconds": round(judged - started, 1), "page_seconds": round(shown - judged, 1)}
    print(json.dumps(row | {"page_mb": round(sum(sizes) / 1e6, 1)}))


def classifier_and_images(
    rng: np.random.Generator, classes: int, each: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, ArrayDataset]:
    """Return weights for `apply` (default: random) and noisy images in uint8 of what each class's weights look for."""
    names, labels = tuple(f"class {label}" for label in range(classes)), np.repeat(np.arange(classes), each)
    if weights is None:
        weights = rng.normal(size=(8 * 8 * 3, classes)).astype(np.float32)
    fields = PIXELS // 8
    patterns = np.kron(weights.T.reshape(classes, 8, 8, 3), np.ones((1, fields, fields, 1)))
    noise = rng.normal(size=(len(labels), PIXELS, PIXELS, 3))
    pixels = np.clip(128 + 20 * patterns[labels] + 40 * noise, 0, 255).astype(np.uint8)
    return weights, ArrayDataset(pixels, labels, names)


def apply(weights: jax.Array, images: jax.Array) -> jax.Array:
    """Return logits that are linear in the means of 8 x 8 fields."""
    side = images.shape[1] // 8
    fields = images.reshape(len(images), 8, side, 8, side, 3).mean((2, 4))
    return fields.reshape(len(images), -1) @ weights


def class_images(label: int) -> np.ndarray:
    return np.random.default_rng(label).normal(size=(IMAGES, SIZE, SIZE, 3)).astype(np.float32)


if __name__ == "__main__":
    app.run(main)
