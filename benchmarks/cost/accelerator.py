"""Run every benchmark for accelerators and check the results against the CPU; print one table.

  python benchmarks/cost/accelerator.py                               # on the machine's default devices
  python benchmarks/cost/accelerator.py --peak_tflops=495,67          # of TF32 and float32, for a device not in PEAKS
  python benchmarks/cost/accelerator.py --images=4 --masks=8 --masks_224=2 --checked=2 --pairs=3 --seconds=0.1

CIFAR-10's shapes, ResNet-18 with the 3x3 stem: the removal search of all 514 orbits over --images images (10,000 are
the test set), in float32 'highest', TF32 and bfloat16: seconds, masked images a second, their ratio to plain forward
passes, share of the device's peak. The same for ResNet-18 with the ImageNet stem at 224 pixels and fewer masks, and
the training step of both. Losses are checked against the CPU's, scores in lower precision against those in 'highest'.
Images are noise with photographs' 1/f spectrum and weights are random: speed is as with real ones, agreement is not.
"""

import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jax.sharding import NamedSharding, PartitionSpec

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import paired
from benchmarks.cost.plain_search import Search
from fsjax import models
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.engine.tile import at_precision
from fsjax.fourier import patches
from fsjax.models.folding import fold
from fsjax.runtime import parallel
from fsjax.search.precision_check import rank_correlation, top_iou
from fsjax.search.removal import removal_masks
from fsjax.training import state, step

IMAGES = flags.DEFINE_integer("images", 10_000, "Images at 32 pixels.")
MASKS = flags.DEFINE_integer("masks", 0, "Masks searched at 32 pixels; 0 = all 515.")
MASKS_224 = flags.DEFINE_integer("masks_224", 24, "Masks searched at 224 pixels.")
IMAGES_224 = flags.DEFINE_integer("images_224", 0, "Images at 224 pixels; 0 = as --images, 256 at most.")
CHECKED = flags.DEFINE_integer("checked", 8, "Masks and images whose losses are compared with the CPU's.")
PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved rounds of masked and plain forward passes.")
SECONDS = flags.DEFINE_float("seconds", 0.5, "About how long one side of a round takes.")
PEAK = flags.DEFINE_list("peak_tflops", None, "Peak TFLOP/s of TF32 and of float32, of one device.")

# Dense peaks of one device, TFLOP/s, by the maker's data sheets: tensorfloat32, and float32 without tensor cores.
PEAKS = {
    "NVIDIA H100 80GB HBM3": (494.7, 66.9),
    "NVIDIA H200": (494.7, 66.9),
    "NVIDIA A100-SXM4-80GB": (156.0, 19.5),
    "NVIDIA A100-SXM4-40GB": (156.0, 19.5),
}


def main(_: list[str]) -> None:
    rows = []
    for name, size, count, images in (
        ("resnet18_cifar", 32, MASKS.value or 515, IMAGES.value),
        ("resnet18_imagenet", 224, MASKS_224.value, IMAGES_224.value or min(IMAGES.value, 256)),
    ):
        expected = None
        for precision in ("highest", "tensorfloat32", "bfloat16"):
            row, scores = measure(name, precision, size, count, images)
            if expected is None:
                expected = scores
            else:
                spearman = rank_correlation(scores, expected)
                row |= {"spearman": spearman and round(spearman, 4), "top_iou": round(top_iou(scores, expected), 4)}
            rows.append(row)
            print(json.dumps(row), flush=True)
        rows.append(training_step(name, size))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


def classifier(name: str, size: int, precision: str) -> tuple[Callable, dict, str]:
    """Return (apply, params, precision of matrix products)."""
    dtype = jnp.dtype(jnp.bfloat16 if precision == "bfloat16" else jnp.float32)
    network = models.build(name, num_classes=10, image_size=size, dtype=dtype)
    return *fold(network, jax.device_get(network.init(0))), "default" if precision == "bfloat16" else precision


def measure(name: str, precision: str, size: int, count: int, images: int) -> tuple[dict, np.ndarray]:
    """Return a row of the table, and the scores of the masks over all images."""
    apply, params, matmul = classifier(name, size, precision)
    data, labels = natural_images(images, size), np.arange(images) % 10
    search = Search(Model(apply, params, data.shape[1:], matmul_precision=matmul), [images])
    engine, batches = search.engine, search.image_batches(data, labels)
    masks = removal_masks((size, size), 1)

    def losses(batches: list, count: int) -> np.ndarray:
        return search.losses(batches, masks[np.arange(count)])

    losses(batches, 1)  # compiles
    started = time.perf_counter()
    mask_losses = losses(batches, count)
    seconds = time.perf_counter() - started
    rate = count * images / seconds

    forward, batch = plain_forward(engine, apply, matmul, data)
    plain = paired.rounds_of(forward, batch, rate * SECONDS.value)
    tile = engine.perturbations_per_tile(search.batch_size)
    few = tile * max(1, round(rate * SECONDS.value / images / tile))

    def masked() -> int:
        losses(batches, few)
        return few * images

    plain(), masked()
    rates = paired.rates({"masked": masked, "forward": plain}, PAIRS.value)
    tflops = rate * flops_of_forward(name, size) / 1e12
    few = min(CHECKED.value, images)
    checked = losses(search.image_batches(data[:few], labels[:few]), CHECKED.value) / few
    expected = on_cpu(name, size, data[:few], labels[:few], CHECKED.value)
    row = {
        "benchmark": "search",
        "model": name,
        "image_size": size,
        "precision": precision,
        "devices": parallel.describe(),
        "masks": count,
        "images": images,
        "seconds": round(seconds, 2),
        "masked_images_per_second": round(rate, 1),
        "seconds_for_cifar10": round(515 * 10_000 / rate, 1) if size == 32 else None,
        **paired.ratio(rates["masked"], rates["forward"]),
        "tflops": round(tflops, 3),
        "share_of_peak": share_of_peak(tflops, precision),
        **search.layout,
        "loss_difference_from_cpu": float(f"{np.max(np.abs(checked - expected) / np.maximum(1, expected)):.2g}"),
    }
    return row, mask_losses[1:] - mask_losses[0]


def plain_forward(engine: Engine, apply: Callable, precision: str, data: np.ndarray) -> tuple[Callable, int]:
    """Return the jitted forward pass over all devices, with a tile's images on each: (call, images a call)."""
    batch = min(engine.tile_images, len(data)) * len(parallel.local_devices())
    place = NamedSharding(parallel.mesh(), PartitionSpec(parallel.AXIS))
    images = jax.device_put(np.resize(data, (batch, *data.shape[1:])), place)

    return functools.partial(jax.jit(at_precision(precision, apply)), engine._params, images), batch


def on_cpu(name: str, size: int, images: np.ndarray, labels: np.ndarray, masks: int) -> np.ndarray:
    """Return mean losses under the first masks, on this machine's CPU in float32 and filtered in NumPy float64."""
    apply, params, _ = classifier(name, size, "highest")
    cpu = jax.local_devices(backend="cpu")[0]
    forward = jax.jit(lambda params, images: jax.nn.log_softmax(apply(params, images)))
    spectra = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
    losses = []
    with jax.default_device(cpu):
        params = jax.device_put(params, cpu)
        for mask in np.asarray(patches.without(removal_masks((size, size), 1)[:masks], size, size)):
            kept = np.fft.ifftshift(spectra * mask[None, :, :, None], axes=(1, 2))
            logits = forward(params, np.fft.ifft2(kept, axes=(1, 2)).real.astype(np.float32))
            losses.append(-np.asarray(logits, float)[np.arange(len(labels)), labels].mean())
    return np.array(losses)


def training_step(name: str, size: int) -> dict:
    """Measure images a second of a run's training step, on a batch that stays on the devices."""
    devices, each = len(parallel.local_devices()), 128 if size == 32 else 64
    each = min(each, IMAGES.value)
    network = models.build(name, num_classes=10, image_size=size)
    optimizer = optax.sgd(0.01, momentum=0.9, nesterov=True)
    mean_std = (np.full(3, 0.5), np.full(3, 0.25))
    update = step.pmap_update(step.make_update_fn(network, optimizer, lambda _, images: images, mean_std, 0))
    no_stop = np.zeros(jax.local_device_count(), bool)
    trained = state.replicate(state.create(network.init(0), optimizer))
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (devices, each, size, size, 3), np.uint8),
        "label": np.zeros((devices, each), np.int32),
        "epoch": np.zeros((devices, each), np.int32),
        "index": np.zeros((devices, each), np.int32),
    }
    batch = jax.pmap(lambda batch: batch, axis_name=parallel.AXIS)(batch)
    for _ in range(2):
        trained, values, _ = update(trained, batch, 1.0, no_stop)
    jax.block_until_ready(values)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < 4 * SECONDS.value:
        trained, values, _ = update(trained, batch, 1.0, no_stop)
        jax.block_until_ready(values)
        steps += 1
    return {
        "benchmark": "training step",
        "model": name,
        "image_size": size,
        "precision": "float32, default",
        "devices": parallel.describe(),
        "images_per_second": round(steps * each * devices / (time.perf_counter() - started), 1),
    }


def flops_of_forward(name: str, size: int) -> float:
    """Return XLA's count of FLOPs for a forward pass of one image on a CPU; a multiply-add counts as two."""
    apply, params, _ = classifier(name, size, "highest")
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        lowered = jax.jit(apply).lower(params, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
        return float(lowered.compile().cost_analysis()["flops"])


def share_of_peak(tflops: float, precision: str) -> float | None:
    """Return the share of the device's peak; None if the peak in this mode is not known."""
    kind = jax.devices()[0].device_kind
    peaks = tuple(float(value) for value in PEAK.value) if PEAK.value else PEAKS.get(kind)
    if peaks is None or precision == "bfloat16":
        return None
    return round(tflops / len(jax.devices()) / peaks[precision == "highest"], 4)


def natural_images(count: int, size: int) -> np.ndarray:
    """Return noise with the 1/f amplitudes of photographs and unit standard deviation."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size, indexing="ij"))
    noise = np.fft.rfft2(rng.normal(size=(count, size, size, 3)), axes=(1, 2))
    images = np.fft.irfft2(noise / (1 + frequency)[None, :, :, None], s=(size, size), axes=(1, 2))
    return (images / images.std()).astype(np.float32)


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table."""
    columns = {
        "benchmark": "benchmark",
        "model": "model",
        "image_size": "pixels",
        "precision": "precision",
        "seconds": "seconds",
        "masked_images_per_second": "masked images/s",
        "seconds_for_cifar10": "s for CIFAR-10",
        "ratio": "over plain forward",
        "share_of_peak": "of peak",
        "loss_difference_from_cpu": "from CPU",
        "spearman": "Spearman",
        "top_iou": "top-5 % IoU",
        "images_per_second": "trained images/s",
    }
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [["" if row.get(key) is None else f"{row[key]}" for key in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    app.run(main)
