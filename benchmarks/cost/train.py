"""Measure the cost of the input pipeline: our loader against torchvision's, whole training steps against bare steps.

  python benchmarks/cost/train.py  # the steps of both models on two cores
  python benchmarks/cost/train.py --only=loader --root=DIR --image_size=224          # DIR/train/<class>/
  python benchmarks/cost/train.py --only=step --model=vit_small_patch16 --image_size=224 --root=DIR
  python benchmarks/cost/train.py --only=step --model=resnet18_cifar --batch=512 --seconds=10   # an accelerator

Prints one JSON object a line. `loader`: images a second of the training loader over torchvision's ImageFolder with
torch's DataLoader, on the same folder with the same pixels, with no worker processes and with two. `over_cores` is our
rate over processes that only decode and resize the same files, a process a core; 1 = the cores are the limit. By
default nothing is cached between epochs, so all sides decode every image. With --cache_gib=4, a run's default, ours
caches decoded images if all fit. `step`: training steps a second, input pipeline included, over bare steps a second on
a batch that stays on the devices. Images come from --root and are decoded at each use; without --root they are
synthetic and in memory. Ratios are medians over interleaved rounds, with a bootstrap 95 % interval; 1 = feeding has no
cost. A CPU's cores are a device each, as in launch.py.
"""

import functools
import itertools
import json
import multiprocessing
import pathlib
import sys
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import paired, resident_step
from configs import common
from fsjax import models
from fsjax.data import Dataset, batches
from fsjax.data.augment import make_augment
from fsjax.data.folder import open_folder
from fsjax.runtime import parallel, startup
from fsjax.runtime.image_files import decode, resize
from fsjax.runtime.workers import core_count
from fsjax.training import optimizers, state
from fsjax.training.settings import PRECISIONS
from fsjax.training.step import PmappedUpdate, Update, on_devices

# (model, image size, batch) measured without --model; the batches are small enough for two cores.
MODELS = (("resnet18_cifar", 32, 64), ("vit_small_patch16", 224, 16))
# Worker processes of torch's loader; each decodes single images.
WORKERS = (0, 2)

ONLY = flags.DEFINE_enum("only", None, ["loader", "step"], "One of the benchmarks.")
ROOT = flags.DEFINE_string("root", None, "Folder with train/<class>/ in it.")
MODEL = flags.DEFINE_string("model", None, "A name of fsjax.models, in place of the list.")
SIZE = flags.DEFINE_integer("image_size", 32, "Side of the images of --root and of --model, pixels.")
BATCH = flags.DEFINE_integer("batch", 0, "Images of a batch; 0 = as in MODELS, and 64 for the loader.")
PRECISION = flags.DEFINE_enum("precision", "float32", list(PRECISIONS), "As config.train.precision.")
AUGMENT = flags.DEFINE_string("augment", "flip,crop", "As config.train.augment, augmentations on the device only.")
CACHE = flags.DEFINE_float("cache_gib", 0.0, "As config.data.cache_gib; 0 = images are decoded at each use.")
PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved rounds.")
SECONDS = flags.DEFINE_float("seconds", 3.0, "Approximate time of one side of a round.")


def main(_: list[str]) -> None:
    chosen = [(MODEL.value, SIZE.value, BATCH.value or 64)] if MODEL.value else MODELS
    startup.use_cores(chosen[0][2])
    if ONLY.value == "loader" or (ROOT.value and not ONLY.value):
        for workers in WORKERS:
            report(loader(workers))
    if ONLY.value in (None, "step"):
        for name, size, batch in chosen:
            report(step(name, size, BATCH.value or batch))


def report(row: dict) -> None:
    print(
        json.dumps({**row, "devices": parallel.describe(), "cores": core_count(), "pairs": PAIRS.value}),
        flush=True,
    )


def loader(workers: int) -> dict:
    """Measure images a second of our training loader over torch's."""
    if not ROOT.value:
        raise app.UsageError("--only=loader needs --root")
    size, batch = SIZE.value, BATCH.value or 64
    ours = folder(size)
    theirs = torch_loader(size, batch, workers)
    check_pixels(ours, theirs.dataset)
    # A round is a number of batches, not whole epochs, because an epoch waits for its last batch.
    pool = multiprocessing.get_context("spawn").Pool(core_count())  # not forked, because JAX has threads
    sides = {
        "cores": lambda count: sum(pool.starmap(decode_files, file_parts(ours, count * batch))),
        "fsjax": lambda count: sum(len(loaded["image"]) for loaded in stream(ours, batch, count)),
        "torchvision": lambda count: sum(len(images) for images, _ in itertools.islice(theirs, count)),
    }
    for side in ("cores", "torchvision"):
        sides[side](8)  # starts the workers
    if CACHE.value:
        ours.images(np.arange(len(ours)))
    # Each side takes as long, although ours may read cached images.
    counts = {name: step_count(functools.partial(side, 8), 8) for name, side in sides.items()}
    theirs.sampler.rounds = counts["torchvision"] * batch
    rates = paired.rates({name: functools.partial(side, counts[name]) for name, side in sides.items()}, PAIRS.value)
    pool.terminate()
    return {
        "benchmark": "loader",
        "root": ROOT.value,
        "image_size": size,
        "batch": batch,
        "workers": workers,
        "cache_gib": CACHE.value,
        **paired.ratio(rates["fsjax"], rates["torchvision"]),
        "over_cores": paired.ratio(rates["fsjax"], rates["cores"]),
        "images_per_second": {name: round(float(np.median(rate)), 1) for name, rate in rates.items()},
    }


def file_parts(images: Dataset, count: int) -> list[tuple[list[str], int]]:
    """Return files of random images, a part a core, and the size that they are resized to."""
    rows = np.random.default_rng(0).permutation(np.resize(np.arange(len(images)), count))
    names = images.names
    files = [str(pathlib.Path(ROOT.value) / "train" / names[row]) for row in rows.tolist()]
    return [(files[core :: core_count()], SIZE.value) for core in range(core_count())]


def decode_files(files: list[str], size: int) -> int:
    """Decode and resize files, and return how many."""
    return sum(len(resize(decode(file, file), size)) == size for file in files)


def torch_loader(size: int, batch: int, workers: int):
    """Return torch's DataLoader over torchvision's ImageFolder; its workers persist between rounds."""
    import torch
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    class Rounds(torch.utils.data.Sampler):
        """Random images for one round only, so that no worker reads ahead while the other side is measured."""

        rounds = 8 * batch

        def __iter__(self) -> Iterator[int]:
            order = (torch.randperm(len(images)).tolist() for _ in itertools.count())
            return itertools.islice(itertools.chain.from_iterable(order), self.rounds)

        def __len__(self) -> int:
            return self.rounds

    images = ImageFolder(
        str(pathlib.Path(ROOT.value) / "train"),
        transforms.Compose([transforms.Resize((size, size)), transforms.PILToTensor()]),
    )
    torch.set_num_threads(1)
    # Spawned, not forked, because JAX has threads.
    fresh = {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
    return torch.utils.data.DataLoader(images, batch, sampler=Rounds(), num_workers=workers, **fresh)


def check_pixels(ours: Dataset, theirs) -> None:
    """Exit if the two sides read different labels or pixels."""
    for index in np.linspace(0, len(ours) - 1, 16, dtype=int).tolist():
        pixels, label = theirs[index]
        if label != ours.labels[index] or not np.array_equal(ours[index], pixels.permute(1, 2, 0).numpy()):
            raise SystemExit(f"image {index} differs between the two loaders")


def step(name: str, size: int, batch: int) -> dict:
    """Measure training steps a second, input pipeline included, over bare steps a second."""
    config = common.base().train
    network = models.build(name, num_classes=10, image_size=size, dtype=PRECISIONS[PRECISION.value])
    optimizer = optimizers.make(config)
    augment = make_augment(AUGMENT.value, pad=config.pad, min_scale=config.min_scale)
    mean_std = (np.array([0.5, 0.5, 0.5]), np.array([0.25, 0.25, 0.25]))
    update = PmappedUpdate(Update(network, optimizer, augment, mean_std, 0))
    dataset = folder(size) if ROOT.value else made_up(size, max(1024, 4 * batch))
    fresh = state.create(network.init(0), optimizer)
    replicas = {"fed": state.replicate(fresh)}
    no_stop = np.zeros(jax.local_device_count(), bool)
    resident = next(on_devices(stream(dataset, batch, 1)))
    bare = resident_step.stepper(update, state.replicate(fresh), resident)

    def fed(count: int) -> int:
        """Run steps as the training loop does: up to two steps are in flight, and losses are read at the end."""
        measured, stops = [], []
        for loaded in on_devices(stream(dataset, batch, count)):
            replicas["fed"], values, stop = update(replicas["fed"], loaded, 1.0, no_stop)
            stops = [*stops[-1:], stop]
            measured.append(values)
            if len(stops) == 2 and state.unreplicate(stops[0]):
                raise SystemExit("a training step reported a stop that was not requested")
        if not np.isfinite([state.unreplicate(values)["loss"] for values in measured]).all():
            raise SystemExit("training: the loss is not finite")
        return count

    sides = {"fed": fed, "bare": bare}
    for side in sides.values():
        side(2)  # compiles
    count = step_count(functools.partial(bare, 2), 2)
    rates = paired.rates({side: functools.partial(run, count) for side, run in sides.items()}, PAIRS.value)
    return {
        "benchmark": "step",
        "model": name,
        "image_size": size,
        "batch": batch,
        "precision": PRECISION.value,
        "images": ROOT.value or "made up",
        "steps": count,
        **paired.ratio(rates["fed"], rates["bare"]),
        "images_per_second": {side: round(float(np.median(rate)) * batch, 1) for side, rate in rates.items()},
    }


def step_count(run: Callable[[], object], steps: int) -> int:
    """Return the number of steps that take about --seconds, timed by a `run` of `steps` steps.

    It is at least two, because two steps may be in flight.
    """
    run()
    rate = paired.rates({"run": lambda: run() and steps}, 1)["run"][0]
    return max(2, round(SECONDS.value * rate))


def stream(dataset: Dataset, batch: int, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Return `count` batches, read as in training."""
    return batches(dataset, batch_size=batch, seed=0, num_steps=count)


def folder(size: int) -> Dataset:
    """Return the images of --root."""
    config = common.base().data
    config.update({"source": "folder", "root": ROOT.value, "image_size": size})
    return Dataset(open_folder(config, "train"), size, cache_gib=CACHE.value)


def made_up(size: int, images: int) -> Dataset:
    """Return noise images in ten classes, in memory."""

    class Noise:
        classes, planted = tuple(f"class {label}" for label in range(10)), None
        labels = np.arange(images, dtype=np.int32) % 10

        def __len__(self) -> int:
            return images

        def __getitem__(self, index: int) -> np.ndarray:
            return np.random.default_rng(index).integers(0, 256, (size, size, 3), np.uint8)

    dataset = Dataset(Noise(), size)
    dataset.images(np.arange(images))
    return dataset


if __name__ == "__main__":
    app.run(main)
