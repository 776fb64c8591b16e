"""What masking costs: masked images a second in the engine over plain forward images a second of the same model.

  python benchmarks/search.py [--model=resnet20] [--image_size=32] [--images=128] [--pairs=20]

Prints one JSON object: `ratio`, the median over interleaved pairs of runs (1 = masking is free), with a bootstrap 95 %
interval, and both rates. The plain forward runs at the best of several batch sizes, float32 'highest' on both sides.
"""

import json
import pathlib
import sys
import time

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from fsjax import models, parallel, spectrum
from fsjax.engine import Engine

MODEL = flags.DEFINE_string("model", "resnet20", "A name of fsjax.models.")
SIZE = flags.DEFINE_integer("image_size", 32, "Side of the images, pixels.")
IMAGES = flags.DEFINE_integer("images", 128, "Images of a class; the masked batch is a multiple of it.")
PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved pairs of runs.")
SECONDS = flags.DEFINE_float("seconds", 1.0, "About how long one run takes.")


def main(_: list[str]) -> None:
    network = models.build(MODEL.value, num_classes=10, image_size=SIZE.value)
    variables = network.init(0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(IMAGES.value, SIZE.value, SIZE.value, 3)).astype(np.float32)

    plain, batch, rate = best_forward(network, variables, images)
    runs = max(1, round(rate * SECONDS.value / batch))
    engine = Engine(network.apply, variables, tile_images=max(batch, IMAGES.value))
    chunks = engine.chunks(images, np.zeros(IMAGES.value, np.int32))
    count = max(1, round(rate * SECONDS.value / IMAGES.value))
    masks = ~spectrum.patch_range(SIZE.value, SIZE.value, 1, 0, count)
    engine.sums(chunks, masks)

    pairs = []
    for index in range(PAIRS.value):
        sides = {}
        for side in ("masked", "plain") if index % 2 else ("plain", "masked"):
            started = time.perf_counter()
            if side == "masked":
                engine.sums(chunks, masks)
                done = len(masks) * IMAGES.value
            else:
                for _ in range(runs):
                    result = plain(variables)
                result.block_until_ready()
                done = runs * batch
            sides[side] = done / (time.perf_counter() - started)
        pairs.append((sides["masked"], sides["plain"]))
    masked, forward = np.array(pairs).T
    ratios = masked / forward
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    print(
        json.dumps(
            {
                "benchmark": "search",
                "model": MODEL.value,
                "image_size": SIZE.value,
                "devices": parallel.describe(),
                "ratio": round(float(np.median(ratios)), 4),
                "interval": [round(float(value), 4) for value in np.quantile(medians, [0.025, 0.975])],
                "masked_images_per_second": round(float(np.median(masked)), 1),
                "forward_images_per_second": round(float(np.median(forward)), 1),
                "forward_batch": batch,
                "pairs": len(pairs),
            }
        )
    )


def best_forward(network: models.Network, variables: dict, images: np.ndarray) -> tuple:
    """The jitted forward pass at the fastest of several batch sizes: (call(variables), batch, images a second)."""

    @jax.jit
    def forward(variables, batch):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, batch)

    best = None
    for batch in (16, 32, 64, 128, 256, 512):
        data = jax.device_put(np.resize(images, (batch, *images.shape[1:])))
        forward(variables, data).block_until_ready()
        repeats, started = max(1, 256 // batch), time.perf_counter()
        for _ in range(repeats):
            forward(variables, data).block_until_ready()
        rate = repeats * batch / (time.perf_counter() - started)
        if best is None or rate > best[2]:
            best = (lambda variables, data=data: forward(variables, data), batch, rate)
    return best


if __name__ == "__main__":
    app.run(main)
