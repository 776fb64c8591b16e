"""Compare a search with plain forward passes of the same model and with the published PyTorch procedure.

  python benchmarks/cost/search.py                                   # everything, meant for ten minutes on two cores
  python benchmarks/cost/search.py --only=ratio --model=resnet20 --pairs=20 --seconds=1
  python benchmarks/cost/search.py --only=vs_pytorch --order=sorted

Prints one JSON object a line. `ratio`: masked images a second over plain forward images a second of the same model,
BatchNorm folded and the same precision on both sides, the plain forward at its best batch size (1 = masking is free).
`filter_over_forward` is the time of filtering alone over a forward pass. `vs_pytorch`: time of the published procedure
over our time, with the same weights and images, for the masks of a whole search. `memory`: memory of a search at two
numbers of masks. Ratios are medians over interleaved rounds, with a bootstrap 95 % interval. A CPU's cores are a device
each, as in launch.py.
"""

import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags
from jax.sharding import Mesh, NamedSharding, PartitionSpec

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import memory, paired
from benchmarks.cost.plain_search import Search, random_classifier, random_images
from fsjax import models
from fsjax.engine import tile_size
from fsjax.engine.model import PRECISIONS, Model
from fsjax.engine.programs import at_precision
from fsjax.fourier import patches, spectrum
from fsjax.models.network import fold
from fsjax.runtime import parallel, startup
from fsjax.search.removal import distinct_masks, removal_masks, visited_blocks

# The plain forward pass's batch sizes grow as long as a call takes no more seconds than this, and as the rate holds.
LONGEST_CALL = 2.0
SLOWER = 0.9
# The models measured without --model: three at 32 pixels and one at 224.
MODELS = (("resnet20", 32), ("resnet18_cifar", 32), ("vit_tiny_patch4", 32), ("resnet18_imagenet", 224))

ONLY = flags.DEFINE_enum("only", None, ["ratio", "vs_pytorch", "memory"], "One of the benchmarks.")
MODEL = flags.DEFINE_string("model", None, "A name of fsjax.models, in place of the list.")
SIZE = flags.DEFINE_integer("image_size", 32, "Side of the images of --model, pixels.")
IMAGES = flags.DEFINE_integer("images", 100, "Images of a class.")
ORDER = flags.DEFINE_enum("order", None, ["shuffled", "sorted"], "Order of the images in the published procedure.")
PAIRS = flags.DEFINE_integer("pairs", 8, "Interleaved rounds.")
SECONDS = flags.DEFINE_float("seconds", 0.5, "Approximate time of one side of a round.")
PRECISION = flags.DEFINE_enum("precision", "highest", list(PRECISIONS), "Precision of the ratio, on both sides.")
MASKS = flags.DEFINE_integer("masks", 0, "Number of masks; set for the processes of the memory benchmark.")


def main(_: list[str]) -> None:
    startup.use_cores(128)
    chosen = [(MODEL.value, SIZE.value)] if MODEL.value else MODELS
    if MASKS.value:
        search_once(*chosen[0], MASKS.value)
        return
    if ONLY.value in (None, "ratio"):
        for name, size in chosen:
            report(ratio(name, size))
    if ONLY.value in (None, "memory"):
        for name, size in chosen[:: len(chosen) - 1 or 1]:
            report(memory_row(name, size))
    if ONLY.value in (None, "vs_pytorch"):
        for order in [ORDER.value] if ORDER.value else ["shuffled", "sorted"]:
            report(vs_pytorch(chosen[0][0], chosen[0][1], order))


def report(row: dict) -> None:
    print(json.dumps({**row, "devices": parallel.describe(), "pairs": PAIRS.value}), flush=True)


def ratio(name: str, size: int) -> dict:
    """Measure masked images a second over plain forward images a second."""
    model, images = random_classifier(name, size).at(PRECISION.value), random_images(IMAGES.value, size)
    plain, batch, rate = best_forward(model, images)
    sides = {"forward": paired.timed_rounds(plain, batch, rate * SECONDS.value)}
    search = Search(model, [len(images)])
    batches = search.image_batches(images)
    tile = search.engine.perturbations_per_tile(search.batch_size)
    listed = search.removals(tiles=max(1, round(rate * SECONDS.value / len(images) / tile)))
    # A tile of masks on all images of a slow model takes ten times as long as a round: some of the batches then.
    several = max(1, round(rate * SECONDS.value / listed.count / search.batch_size))
    timed = min(len(images), several * search.batch_size)
    sides["masks"] = functools.partial(search.masked_images, batches[:several], listed, timed)
    filtering = jax.jit(
        jax.shard_map(
            spectrum.filter_spectra,
            mesh=parallel.mesh(),
            in_specs=(PartitionSpec(), PartitionSpec(parallel.AXIS)),
            out_specs=PartitionSpec(parallel.AXIS),
        )
    )
    arguments = batches[0].encoded, np.asarray(patches.without(listed[:tile], size, size))
    images_a_call = tile * search.batch_size
    sides["filter"] = paired.timed_rounds(functools.partial(filtering, *arguments), images_a_call, rate * SECONDS.value)
    for side in sides.values():
        side()
    rates = paired.rates(sides, PAIRS.value)
    return {
        "benchmark": "ratio",
        "model": name,
        "image_size": size,
        "precision": PRECISION.value,
        **paired.ratio(rates["masks"], rates["forward"]),
        "masked_images_per_second": round(float(np.median(rates["masks"])), 1),
        **search.layout,
        "forward_images_per_second": round(float(np.median(rates["forward"])), 1),
        "forward_batch": batch,
        "filter_over_forward": round(float(np.median(rates["forward"] / rates["filter"])), 4),
    }


def vs_pytorch(name: str, size: int, order: str) -> dict:
    """Measure the time of the published procedure over ours, for the same masks and all of ten classes."""
    import torch

    from benchmarks.parity import published as procedure
    from benchmarks.parity.torch_models import from_torch, randomise, torch_resnet

    classes = 10
    published = torch_resnet(name).eval()
    randomise(published)
    network = models.build(name, num_classes=classes, image_size=size)
    model = Model(*fold(network, from_torch(published)), (size, size, 3))
    images = random_images(classes * IMAGES.value, size)
    labels = np.repeat(np.arange(classes), IMAGES.value)
    shuffled = np.random.default_rng(1).permutation(len(labels)) if order == "shuffled" else np.arange(len(labels))
    batches = procedure.batches(images[shuffled], labels[shuffled])
    blocks = visited_blocks(size, 1)
    distinct, block_masks = distinct_masks(size, 1, blocks)
    weights = [np.full((IMAGES.value, 1), 1 / IMAGES.value, np.float32)] * classes
    search = Search(model, [IMAGES.value])
    mask = iter(np.random.default_rng(2).permutation(distinct.count).tolist() * 100)
    taken, theirs, ours = [], {}, {}

    def pytorch() -> int:
        index = taken[-1]
        block = blocks[block_masks.tolist().index(index)]
        theirs[index] = [float(procedure.loss_without(published, batches, c, 1, *block)) for c in range(classes)]
        return 1

    def class_batches(label: int) -> list:
        return search.image_batches(images[labels == label], labels[labels == label], weights[label])

    every = [class_batches(label) for label in range(classes)]

    def fsjax() -> float:
        """A search makes the image batches of a class once for all its masks; here one class's are made in each round.

        Counted in blocks of the published search: of those some have the same mask, which is computed once.
        """
        every[taken[0] % classes] = class_batches(taken[0] % classes)
        listed = distinct[np.array(taken)]
        found = [search.losses(images, listed) for images in every]
        ours.update(zip(taken, np.transpose(found).tolist(), strict=True))
        return len(taken) * len(blocks) / distinct.count

    # Ours takes several masks in the time of one of theirs; both rates are blocks a second.
    rates = {"ours": [], "theirs": []}
    several = search.engine.perturbations_per_tile(search.batch_size)  # a whole tile: a search pads its last tile only
    for round_ in range(PAIRS.value // 2 + 1):  # of ten seconds and more
        taken[:] = [next(mask) for _ in range(several)]
        round_rates = paired.rates({"ours": fsjax, "theirs": pytorch}, 1)
        if round_:  # the first compiles
            for side, rate in round_rates.items():
                rates[side].append(rate[0])
    if order == "sorted":
        apart = max(abs(ours[i][c] - theirs[i][c]) / max(1, theirs[i][c]) for i in theirs for c in range(classes))
    else:
        apart = None  # the published loss depends on the order
    return {
        "benchmark": "vs_pytorch",
        "model": name,
        "image_size": size,
        "order": order,
        **paired.ratio(*(np.array(rates[side]) for side in ("ours", "theirs"))),
        "our_seconds_per_block": round(1 / float(np.median(rates["ours"])), 4),
        "their_seconds_per_block": round(1 / float(np.median(rates["theirs"])), 4),
        "blocks": len(blocks),
        "distinct_masks": distinct.count,
        "largest_relative_difference": apart,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def memory_row(name: str, size: int) -> dict:
    """Measure peak resident memory of processes that search few and many masks, with XLA's memory for a tile."""
    model = random_classifier(name, size)
    few, many = 16, 400 if size < 100 else 48
    images, peaks = min(IMAGES.value, 20), []  # few: it is the masks that are not to take memory
    for count in (few, many):
        command = [sys.executable, __file__, f"--model={name}", f"--image_size={size}", f"--images={images}"]
        printed = subprocess.run([*command, f"--masks={count}"], check=True, capture_output=True, text=True).stdout
        peaks.append(json.loads(printed)["peak_mib"])
    search = Search(model, [images])
    tile_images = search.layout["tile_images"]
    tile = tile_size.temporary_bytes(search.model, tile_images)
    return {
        "benchmark": "memory",
        "model": name,
        "image_size": size,
        "masks": [few, many],
        "peak_mib": peaks,
        "tile_images": tile_images,
        "tile_mib": round(tile / tile_size.MIB, 1),
        "budget_mib": tile_size.CPU_MOST // tile_size.MIB if parallel.free_bytes() is None else None,
    }


def search_once(name: str, size: int, count: int) -> None:
    images = random_images(IMAGES.value, size)
    search = Search(random_classifier(name, size), [len(images)])
    search.losses(search.image_batches(images), removal_masks((size, size), 1)[np.arange(count)])
    # getrusage would count what the parent had before this process began.
    print(json.dumps({"peak_mib": round(memory.status("VmHWM") / 2**20)}))


def best_forward(model: Model, images: np.ndarray) -> tuple[Callable, int, float]:
    """Return the jitted forward pass at the fastest of several batch sizes: (call, batch, images a second).

    Batch sizes a factor of four apart are tried on one device and split over all devices, then those beside the best.
    """
    forward = jax.jit(at_precision(model.matmul_precision, model.apply))
    devices = parallel.local_devices()
    calls: dict[tuple[int, int], Callable] = {}
    rates: dict[tuple[int, int], float] = {}

    def measure(count: int, batch: int) -> float:
        """Store and return the rate of a batch size on `count` devices."""
        mesh = Mesh(np.array(devices[:count]), ("devices",))
        placed = jax.device_put(model.params, NamedSharding(mesh, PartitionSpec()))
        data = np.resize(images, (batch, *images.shape[1:]))
        data = jax.device_put(data, NamedSharding(mesh, PartitionSpec("devices")))
        call = calls[count, batch] = functools.partial(forward, placed, data)
        call().block_until_ready()
        (once,) = paired.rates({"": paired.timed_rounds(call, batch, batch)}, 1)[""]
        measured = paired.rates({"": paired.timed_rounds(call, batch, SECONDS.value / 2 * once)}, 5)[""]
        rates[count, batch] = float(np.median(measured))
        return rates[count, batch]

    for count in {1, len(devices)}:
        fastest = 0.0
        for batch in (size for size in (4, 16, 64, 256, 1024) if size % count == 0):
            rate = measure(count, batch)
            fastest = max(fastest, rate)
            if rate <= SLOWER * fastest or 4 * batch / rate >= LONGEST_CALL:
                break
    count, batch = max(rates, key=rates.__getitem__)
    for other in (batch // 2, 2 * batch):
        if other % count == 0 and other / rates[count, batch] < LONGEST_CALL:
            measure(count, other)
    best = max(rates, key=rates.__getitem__)
    return calls[best], best[1], rates[best]


if __name__ == "__main__":
    app.run(main)
