"""Compare convolutions on a CPU: XLA's own with what fsjax.models.convolution chooses for each shape.

  python benchmarks/cost/convolutions.py

Prints a JSON line for each shape, and a table at the end: milliseconds of CPU time of both, for the convolution, with
its gradient by the images, and with its gradients by images and kernel; the ratio of CPU times, XLA's over ours,
medians over interleaved rounds; and seconds to compile the last form. Shapes that stay XLA's own have a ratio of about
1.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import lax

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import paired
from fsjax.models.convolution import conv_general_dilated

# Images, channels, side, outputs, kernel, stride, groups; padding is half the kernel.
SHAPES = {
    "ResNet-20, 32 pixels": (64, 16, 32, 16, 3, 1, 1),
    "ResNet-20, first of a stage": (64, 16, 32, 32, 3, 2, 1),
    "ResNet-18 at 224, stem": (8, 3, 224, 64, 7, 2, 1),
    "ResNet-18 at 224, stage 1": (8, 64, 56, 64, 3, 1, 1),
    "ResNet-18 at 224, first of stage 4": (8, 256, 14, 512, 3, 2, 1),
    "ResNet-18 at 224, stage 4": (8, 512, 7, 512, 3, 1, 1),
    "ResNet-18 at 128, stage 4": (64, 512, 4, 512, 3, 1, 1),
    "ResNet-18 at 96, stage 4": (64, 512, 3, 512, 3, 1, 1),
    "ResNet-18 at 64, stage 4": (64, 512, 2, 512, 3, 1, 1),
    "ResNet-18 at 64, first of stage 4": (64, 256, 4, 512, 3, 2, 1),
    "ResNet-18 at 32, stage 4": (64, 512, 1, 512, 3, 1, 1),
    "ResNet-50 at 224, 1 x 1": (8, 256, 56, 64, 1, 1, 1),
    "ResNet-50 at 224, 1 x 1, strided": (8, 256, 56, 512, 1, 2, 1),
    "EfficientNet at 224, 1 x 1": (8, 1152, 7, 320, 1, 1, 1),
    "EfficientNet at 224, depthwise 3 x 3": (8, 32, 112, 32, 3, 1, 32),
    "EfficientNet at 224, depthwise 5 x 5, strided": (8, 144, 56, 144, 5, 2, 144),
    "EfficientNet at 224, depthwise 5 x 5": (8, 1152, 7, 1152, 5, 1, 1152),
    "ConvNeXt at 224, depthwise 7 x 7": (8, 96, 56, 96, 7, 1, 96),
    "ResNeXt at 224, 32 groups": (8, 256, 28, 256, 3, 1, 32),
}

ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved rounds.")


def main(_: list[str]) -> None:
    rows = []
    for name, (n, channels, side, outputs, taps, stride, groups) in SHAPES.items():
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.normal(size=(n, side, side, channels)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(taps, taps, channels // groups, outputs)), jnp.float32)
        row: dict = {"benchmark": "convolutions", "shape": name}
        forms = {"xla": lax.conv_general_dilated, "ours": conv_general_dilated}
        for what, by in {"forward": (), "by_images": (0,), "by_both": (0, 1)}.items():
            sides, compiled = {}, {}
            for form, convolve in forms.items():
                began = time.perf_counter()
                sides[form] = side_of(convolve, images, kernel, stride, groups, by)
                compiled[form] = round(time.perf_counter() - began, 2)
            rates = paired.rates(sides, ROUNDS.value, time.process_time)
            row[what] = paired.ratio(rates["ours"], rates["xla"])["ratio"]
            row |= {f"{what}_{form}_ms": round(1e3 * n / float(np.median(rates[form])), 2) for form in sides}
            row |= {f"compile_{form}": seconds for form, seconds in compiled.items()}
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(f"\n`{' '.join(['python', *sys.argv])}`: ms of XLA's own and of ours\n")
    print("| shape | forward | with gradients by images | by both | ratios |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        forms = ("forward", "by_images", "by_both")
        times = " | ".join(f"{row[f'{what}_xla_ms']} and {row[f'{what}_ours_ms']}" for what in forms)
        print(f"| {row['shape']} | {times} | {', '.join(f'{row[what]:.2f}' for what in forms)} |")


def side_of(
    convolve: Callable, images: jax.Array, kernel: jax.Array, stride: int, groups: int, by: tuple[int, ...]
) -> Callable[[], int]:
    """Return a side of `paired.rates`, compiled: the convolution, or the gradients of its sum of squares."""
    pad = kernel.shape[0] // 2

    def forward(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve(
            images,
            kernel,
            (stride, stride),
            [(pad, pad)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    call = jax.jit(jax.grad(lambda *arrays: (forward(*arrays) ** 2).sum(), by) if by else forward)

    def run() -> int:
        jax.block_until_ready(call(images, kernel))
        return len(images)

    run()
    return run


if __name__ == "__main__":
    app.run(main)
