"""Does fine-tuning with other images' frequencies in place of a watermark's unlearn its "carton"?

  python benchmarks/natural/watermark_finetune.py --photographs=PHOTOGRAPHS --data=DIR --rows=ROWS.jsonl \
      --font=NotoSansCJK-Regular.ttc --out=OUT.jsonl

First run watermark.py, whose flags these are: it ranks the frequencies. EfficientNet-lite0 is fine-tuned on
PHOTOGRAPHS/train/<wnid>/, and tested on PHOTOGRAPHS/test/<wnid>/ and on the photographs that watermark.py measures. In
each arm of ARMS a training image is changed, and the network learns either its label or the original network's
probabilities for the unchanged image. A restart skips finished networks; at the end a table is printed.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from absl import app, flags
from jaxtyping import Array, Float, Int, PyTree, UInt8

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import efficientnet_lite, markdown
from benchmarks.common import rows as row_file
from benchmarks.common.efficientnet_lite import normalise
from benchmarks.natural import watermark, watermark_parts
from benchmarks.natural.watermark_parts import Coordinates, Mark
from benchmarks.natural.watermark_summary import ratio
from fsjax.engine.model import Model
from fsjax.runtime import files
from fsjax.runtime.progress import Progress

# What the network learns, and how training images are changed.
ARMS = (
    ("original", "none"),
    ("labels", "none"),
    ("labels", "energy"),
    ("network", "energy"),
    ("network", "mark"),
    ("labels", "random"),
    ("network", "random"),
)
SHARE, EACH, HELD_OUT = 0.05, 10, 300
BATCH, MOMENTUM = 32, 0.9


class Photographs(NamedTuple):
    pixels: UInt8[np.ndarray, "n height width 3"]
    labels: Int[np.ndarray, " n"]


def main(_: list[str]) -> None:
    own = flags.FLAGS
    out, mark = pathlib.Path(own.out), Mark(watermark.TEXT, own.font)
    model = efficientnet_lite.network("lite0")
    scores = watermark_parts.Ranking(**files.read_npz(watermark.scores_file(pathlib.Path(own.rows))))
    chosen = watermark_parts.sets(scores, SHARE, own.seed)
    one_each = watermark_parts.read(pathlib.Path(own.data), model.image_shape[0])
    numbers, _ = watermark.split(len(one_each))
    tested = {
        "1,000 classes": Photographs(one_each[numbers[:HELD_OUT]], numbers[:HELD_OUT]),
        "34 classes": photographs(pathlib.Path(own.photographs) / "test", own.data, model, EACH),
    }
    train = photographs(pathlib.Path(own.photographs) / "train", own.data, model)
    done = {(row["targets"], row["change"]) for row in row_file.begun(out)}
    for targets, change in [arm for arm in ARMS if arm not in done]:
        tuned = model
        if targets != "original":
            change_pixels = changes(change, mark, chosen)
            learned = one_hot(train.labels) if targets == "labels" else probabilities(model, train.pixels)
            name = f"{targets}, {change}"
            tuned = fine_tune(model, train.pixels, learned, change_pixels, own.rate, own.steps, own.seed, name)
        row_file.add(out, [{"targets": targets, "change": change, **measure(tuned, tested, mark, chosen["energy"])}])
    print(table(row_file.read(out)))


def changes(name: str, mark: Mark, chosen: dict[str, Coordinates]) -> Callable:
    """Return a function (pixels, rng) -> normalised images: as they are, half with the mark, or all grafted."""

    def change(pixels: UInt8[np.ndarray, "n height width 3"], rng: np.random.Generator):
        images = normalise(pixels)
        if name == "mark":
            return np.where(rng.random((len(pixels), 1, 1, 1)) < 0.5, normalise(mark.over(pixels)), images)
        if name in chosen:
            return images + np.asarray(chosen[name].part(images[rng.permutation(len(images))] - images))
        return images

    return change


def fine_tune(
    model: Model,
    pixels: UInt8[np.ndarray, "n height width 3"],
    targets: Float[np.ndarray, "n classes"],
    change: Callable,
    rate: float,
    steps: int,
    seed: int,
    name: str,
) -> Model:
    """Return the model after steps of SGD on the cross-entropy; BatchNorm is a part of its weights."""
    optimizer = optax.sgd(optax.cosine_decay_schedule(rate, steps), MOMENTUM)

    def loss(params: PyTree, images: Float[Array, "n height width 3"], wanted: Float[Array, "n classes"]):
        return optax.softmax_cross_entropy(model.apply(params, images), wanted).mean()

    @jax.jit
    def step(params: PyTree, state: PyTree, *batch: Float[Array, "n ..."]) -> tuple[PyTree, PyTree]:
        updates, state = optimizer.update(jax.grad(loss)(params, *batch), state)
        return optax.apply_updates(params, updates), state

    params, rng = model.params, np.random.default_rng(seed)
    state, order = optimizer.init(params), rng.permutation(len(pixels))
    with Progress(name, steps * BATCH, "images") as progress:
        for number in range(steps):
            if (number + 1) * BATCH > len(order):
                order = np.append(order, rng.permutation(len(pixels)))
            rows = order[number * BATCH :][:BATCH]
            flipped = np.where(rng.random((BATCH, 1, 1, 1)) < 0.5, pixels[rows], pixels[rows, :, ::-1])
            params, state = step(params, state, change(flipped, rng), targets[rows])
            progress.update(BATCH)
    return Model(model.apply, params, model.image_shape)


def measure(model: Model, tested: dict[str, Photographs], mark: Mark, frequencies: Coordinates) -> dict:
    """Return carton's log-odds and the predictions for clean and marked images, and clean ones with the frequencies."""
    found = {}
    for name, (pixels, labels) in tested.items():
        found[name] = {"labels": labels.tolist()}
        for way in ("clean", "marked", "given") if name == "1,000 classes" else ("clean", "marked"):
            condition = watermark.Condition({"way": way}, mark, frequencies if way == "given" else None, len(pixels))
            logits = in_batches(model, lambda batch, condition=condition: condition.of(batch, batch), pixels)
            odds = watermark_parts.log_odds(logits, watermark.CARTON)
            found[name][way] = {"log_odds": odds.round(5).tolist(), "top": logits.argmax(1).tolist()}
    return found


def in_batches(model: Model, images_of: Callable, pixels: UInt8[np.ndarray, "n height width 3"]):
    predict = jax.jit(model.apply)
    parts = (pixels[start : start + watermark.BATCH] for start in range(0, len(pixels), watermark.BATCH))
    return np.concatenate([np.asarray(predict(model.params, images_of(part))) for part in parts])


def table(rows: list[dict]) -> str:
    """Return the rise of carton's log-odds, what it is of the original network's, and the accuracies."""

    def cell(over, under=None, form: str = "{:.2f} [{:.2f}, {:.2f}]") -> str:
        over = np.asarray(over, float)
        return form.format(*ratio(over, np.ones(len(over)) if under is None else under))

    def rise(row: dict, way: str):
        whole = row["1,000 classes"]
        return np.subtract(whole[way]["log_odds"], whole["clean"]["log_odds"])

    lines = []
    for row in rows:
        cells = [row["targets"], row["change"]]
        cells += [cell(rise(row, way), under) for way in ("marked", "given") for under in (None, rise(rows[0], way))]
        for name in ("1,000 classes", "34 classes"):
            correct = {way: np.equal(row[name][way]["top"], row[name]["labels"]) for way in ("clean", "marked")}
            cells += [cell(correct[way]) for way in correct]
        lines.append([*cells, cell(np.equal(row["1,000 classes"]["marked"]["top"], watermark.CARTON))])
    head = ["learns", "change", "rise", "of the original's", "given 5 %", "of the original's", "clean", "marked"]
    return markdown.table([*head, "34: clean", "34: marked", "carton"], lines)


def photographs(folder: pathlib.Path, wnids: str, model: Model, each: int | None = None) -> Photographs:
    """Return the first images of each class folder; outputs are places of its name among the folders of `wnids`."""
    outputs = sorted(entry.name for entry in pathlib.Path(wnids).iterdir() if entry.is_dir())
    files_of = {entry.name: sorted(entry.iterdir())[:each] for entry in sorted(folder.iterdir())}
    pixels = [efficientnet_lite.read(file, model.image_shape[0]) for files in files_of.values() for file in files]
    labels = [outputs.index(name) for name, files in files_of.items() for _ in files]
    return Photographs(np.stack(pixels), np.array(labels))


def one_hot(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 1000"]:
    return np.eye(1000, dtype=np.float32)[labels]


def probabilities(model: Model, pixels: UInt8[np.ndarray, "n height width 3"]) -> Float[np.ndarray, "n 1000"]:
    return np.asarray(jax.nn.softmax(in_batches(model, normalise, pixels)))


def define_flags() -> None:
    flags.DEFINE_string("photographs", None, "Folder with {train,test}/<wnid>/.", required=True)
    flags.DEFINE_string("out", None, "JSONL file of the networks' outcomes.", required=True)
    flags.DEFINE_float("rate", 0.0003, "First learning rate.")
    flags.DEFINE_integer("steps", 60, f"Steps of {BATCH} images.")


if __name__ == "__main__":
    watermark.define_flags()
    define_flags()
    app.run(main)
