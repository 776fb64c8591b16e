"""What a search costs, beside the plain forward passes of the same model and the published procedure in PyTorch.

  python benchmarks/search.py                                   # everything, about an hour on two cores
  python benchmarks/search.py --only=ratio --model=resnet20
  python benchmarks/search.py --only=vs_pytorch --order=sorted

Prints one JSON object a line. `ratio`: masked images a second over plain forward images a second of the same model,
BatchNorm folded and float32 'highest' on both sides, the plain forward at its best batch size (1 = masking is free).
`vs_pytorch`: time of the published procedure over ours, with the same weights, images and masks. `memory`: what a
search allocates at two numbers of masks. Ratios are medians over interleaved rounds, with a bootstrap 95 % interval.
"""

import json
import pathlib
import resource
import subprocess
import sys
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from benchmarks import paired
from fsjax import models, parallel, spectrum, tiles
from fsjax.engine import Engine, Perturbations
from fsjax.models.folding import fold
from fsjax.search import published

# What is measured without --model: three models at 32 pixels and one at 224.
MODELS = (("resnet20", 32), ("resnet18_cifar", 32), ("vit_tiny_patch4", 32), ("resnet18_imagenet", 224))

ONLY = flags.DEFINE_enum("only", None, ["ratio", "vs_pytorch", "memory"], "One of the benchmarks.")
MODEL = flags.DEFINE_string("model", None, "A name of fsjax.models, in place of the list.")
SIZE = flags.DEFINE_integer("image_size", 32, "Side of the images of --model, pixels.")
IMAGES = flags.DEFINE_integer("images", 100, "Images of a class.")
ORDER = flags.DEFINE_enum("order", None, ["shuffled", "sorted"], "Of the images in the published procedure.")
PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved rounds.")
SECONDS = flags.DEFINE_float("seconds", 1.0, "About how long one side of a round takes.")
MASKS = flags.DEFINE_integer("masks", 0, "For the processes of the memory benchmark.")


def main(_: list[str]) -> None:
    chosen = [(MODEL.value, SIZE.value)] if MODEL.value else MODELS
    if MASKS.value:
        search_once(*chosen[0], MASKS.value)
        return
    if ONLY.value in (None, "ratio"):
        for name, size in chosen:
            report(ratio(name, size))
    if ONLY.value in (None, "memory"):
        for name, size in chosen[:: len(chosen) - 1 or 1]:
            report(memory(name, size))
    if ONLY.value in (None, "vs_pytorch"):
        for order in [ORDER.value] if ORDER.value else ["shuffled", "sorted"]:
            report(vs_pytorch(chosen[0][0], chosen[0][1], order))


def report(row: dict) -> None:
    print(json.dumps({**row, "devices": parallel.describe(), "pairs": PAIRS.value}), flush=True)


def ratio(name: str, size: int) -> dict:
    """Masked images a second over plain forward images a second."""
    apply, params = classifier(name, size)
    images = random_images(IMAGES.value, size)
    plain, batch, rate = best_forward(apply, params, images)
    engine, chunks = engine_for(apply, params, images)
    # Whole tiles: of the 515 masks of a search at 32 pixels only the last tile is padded.
    tile = engine.per_tile(len(chunks[0].labels))
    count = tile * max(1, round(rate * SECONDS.value / len(images) / tile))
    masks = ~spectrum.patch_range(size, size, 1, 1, 1 + count)
    repeats = max(1, round(len(masks) * len(images) / batch))

    def masked() -> int:
        engine.sums(chunks, masks)
        return len(masks) * len(images)

    def forward() -> int:
        results = [plain() for _ in range(repeats)]
        jax.block_until_ready(results)
        return repeats * batch

    masked(), forward()
    rates = paired.rates({"masked": masked, "forward": forward}, PAIRS.value)
    return {
        "benchmark": "ratio",
        "model": name,
        "image_size": size,
        **paired.ratio(rates["masked"], rates["forward"]),
        "masked_images_per_second": round(float(np.median(rates["masked"])), 1),
        "forward_images_per_second": round(float(np.median(rates["forward"])), 1),
        "forward_batch": batch,
        "tile_images": engine.tile_images,
    }


def vs_pytorch(name: str, size: int, order: str) -> dict:
    """Time of the published procedure over ours for the same masks, all of ten classes."""
    import torch

    from benchmarks import published as procedure
    from benchmarks.torch_models import from_torch, randomise, torch_resnet

    classes = 10
    model = torch_resnet(name).eval()
    randomise(model)
    apply, params = fold(models.build(name, num_classes=classes, image_size=size), from_torch(model))
    images = random_images(classes * IMAGES.value, size)
    labels = np.repeat(np.arange(classes), IMAGES.value)
    shuffled = np.random.default_rng(1).permutation(len(labels)) if order == "shuffled" else np.arange(len(labels))
    batches = procedure.batches(images[shuffled], labels[shuffled])
    blocks = published.visited_blocks(size, 1)
    weights = [np.full((IMAGES.value, 1), 1 / IMAGES.value, np.float32)] * classes
    engine, _ = engine_for(apply, params, images[: IMAGES.value])
    chunk = tiles.chunk_size([IMAGES.value], engine.tile_images)
    mask = iter(np.random.default_rng(2).permutation(len(blocks)).tolist() * 100)
    taken, theirs, ours = [], {}, {}

    def pytorch() -> int:
        index = taken[-1]
        theirs[index] = [float(procedure.loss_without(model, batches, c, 1, *blocks[index])) for c in range(classes)]
        return 1

    def fsjax() -> int:
        """A search makes its chunks once for hundreds of masks: here they count for their share."""
        kept = published.block_masks(size, 1, [blocks[index] for index in taken])
        ours.update({index: [] for index in taken})
        for label in range(classes):
            of_class = images[labels == label]
            chunks = engine.chunks(of_class, labels[labels == label], weights[label], size=chunk)
            for index, value in zip(taken, engine.sums(chunks, kept)["loss"][:, 0], strict=True):
                ours[index].append(value)
        return len(taken)

    # Ours takes several masks in the time of one of theirs; both rates are masks a second.
    rates = {"ours": [], "theirs": []}
    several = max(2, engine.per_tile(chunk))
    for round_ in range(PAIRS.value + 1):
        taken[:] = [next(mask) for _ in range(several)]
        found = paired.rates({"ours": fsjax, "theirs": pytorch}, 1)
        if round_:  # the first compiles
            for side, rate in found.items():
                rates[side].append(rate[0])
    if order == "sorted":
        apart = max(abs(ours[i][c] - theirs[i][c]) / max(1, theirs[i][c]) for i in theirs for c in range(classes))
    else:
        apart = None  # in another order the published loss is another one
    return {
        "benchmark": "vs_pytorch",
        "model": name,
        "image_size": size,
        "order": order,
        **paired.ratio(*(np.array(rates[side]) for side in ("ours", "theirs"))),
        "our_seconds_per_mask": round(1 / float(np.median(rates["ours"])), 4),
        "their_seconds_per_mask": round(1 / float(np.median(rates["theirs"])), 4),
        "largest_relative_difference": apart,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def memory(name: str, size: int) -> dict:
    """Peak resident memory of whole processes that search few and many masks, beside what XLA says of a tile."""
    apply, params = classifier(name, size)
    few, many = 16, 400 if size < 100 else 48
    peaks = []
    for count in (few, many):
        command = [sys.executable, __file__, f"--model={name}", f"--image_size={size}", f"--images={IMAGES.value}"]
        printed = subprocess.run([*command, f"--masks={count}"], check=True, capture_output=True, text=True).stdout
        peaks.append(json.loads(printed)["peak_mib"])
    tile_images = tiles.fit(apply, params, (size, size, 3), resident_images=IMAGES.value)
    tile = tiles.temporary_bytes(apply, params, (size, size, 3), tile_images)
    return {
        "benchmark": "memory",
        "model": name,
        "image_size": size,
        "masks": [few, many],
        "peak_mib": peaks,
        "tile_images": tile_images,
        "tile_mib": round(tile / tiles.MIB, 1),
        "budget_mib": tiles.CPU_BUDGET // tiles.MIB if parallel.free_bytes() is None else None,
    }


def search_once(name: str, size: int, count: int) -> None:
    apply, params = classifier(name, size)
    engine, chunks = engine_for(apply, params, random_images(IMAGES.value, size))

    def make(start: int, stop: int) -> Perturbations:
        return Perturbations(~spectrum.patch_range(size, size, 1, start, stop))

    for _ in engine.tiles(chunks, make, count):
        pass
    print(json.dumps({"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}))


def classifier(name: str, size: int) -> tuple[Callable, dict]:
    network = models.build(name, num_classes=10, image_size=size)
    return fold(network, network.init(0))


def random_images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype(np.float32)


def engine_for(apply: Callable, params: dict, images: np.ndarray) -> tuple[Engine, list]:
    """As a search makes it."""
    tile_images = tiles.fit(apply, params, images.shape[1:], resident_images=len(images))
    engine = Engine(apply, params, tile_images=tile_images)
    size = tiles.chunk_size([len(images)], tile_images)
    return engine, engine.chunks(images, np.zeros(len(images), np.int32), size=size)


def best_forward(apply: Callable, params: dict, images: np.ndarray) -> tuple[Callable, int, float]:
    """The jitted forward pass at the fastest of several batch sizes: (call, batch, images a second)."""

    @jax.jit
    def forward(params, batch):
        with jax.default_matmul_precision("highest"):
            return apply(params, batch)

    calls = {}
    for batch in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        if batch > (64 if images.shape[1] > 100 else 256) and parallel.free_bytes() is None:
            break  # far beyond a CPU's best
        data = jax.device_put(np.resize(images, (batch, *images.shape[1:])))
        calls[batch] = lambda data=data: forward(params, data)
        calls[batch]().block_until_ready()

    def side(batch: int) -> Callable[[], int]:
        def run() -> int:
            repeats = max(1, 64 // batch)
            jax.block_until_ready([calls[batch]() for _ in range(repeats)])
            return repeats * batch

        return run

    rates = paired.rates({batch: side(batch) for batch in calls}, 5)
    best = max(rates, key=lambda batch: np.median(rates[batch]))
    return calls[best], best, float(np.median(rates[best]))


if __name__ == "__main__":
    app.run(main)
