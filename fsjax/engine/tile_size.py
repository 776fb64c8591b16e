"""The size of a tile: how many perturbed images a device takes in one call, from the memory that it has.

`config.run.memory_mib` sets the MiB on each device for the model's parameters, the encoded images and a tile's
temporaries together. 0 chooses: on an accelerator half of the memory that is free, on a CPU a tile that fits its cache
(`CPU_BUDGET`). XLA's analysis of the compiled tile (`temporary_bytes`) gives the memory of an image (`split`). A size
for an amount of memory is compiled, and reduced until it fits: a TPU keeps small tiles in its vector memory, so
that 8 and 16 images take nothing there, and 2,048 of the same network 128 MiB. Partial results remember the size.
"""

import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, PyTree

from fsjax.engine.model import Model
from fsjax.engine.tile import make_tile, tile_shapes
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError

MIB = 2**20
# Temporaries of a tile on a CPU. Measured: a ViT's plain forward passes were fastest up to 11 MiB, 4 % slower at 15 and
# 8 % at 22. A ResNet-18 was fastest with 16 images, which take 20 MiB. Beyond 25 MiB all models were slower, by up to a
# quarter.
CPU_BUDGET, CPU_IMAGES, CPU_MOST = 11 * MIB, 16, 22 * MIB
# Larger tiles gain nothing on any device, and cost more padding and a longer wait for SIGTERM.
MOST_IMAGES = 2048
# Images whose spectra lie on a device at the same time.
GROUP = 2048
_PROBE = 8
# Masks are divided evenly among this number of CPU devices, and so among 1, 2 and 4.
_CPU_DEVICES = 8
_HARDLY_MORE = 1.02
# The bytes of each program; the search, the evaluation and the heat map of a run ask for the same programs.
_KNOWN: weakref.WeakKeyDictionary[Callable, dict[str, int]] = weakref.WeakKeyDictionary()


def layout(model: Model, counts: Sequence[int], *, masks: int = 0, memory_mib: int = 0) -> dict[str, int]:
    """Return how a search divides its work, for groups of `counts` images; one group at a time lies on the devices.

    The keys are `tile_images` and `chunk`, the tile size and the image batch size. Each group goes through `masks`, or
    a multiple of them; 0 = not known. `memory_mib` and the error are as for `most_images`.
    """
    tile_images = fit(model, resident_images=max(counts), memory_mib=memory_mib)
    chunk = image_batch_size(counts, tile_images)
    if masks:
        # On a CPU sums have the same bits for any number of devices and processes, since their tiles are the same.
        on_cpu, pairs = parallel.free_bytes() is None, masks * len(counts)
        devices, processes = (_CPU_DEVICES, 1) if on_cpu else (parallel.mesh().size, parallel.process()[1])
        ends = {*range(0, pairs + 1, masks), *(pairs * index // processes for index in range(processes + 1))}
        tile_images = chunk * masks_per_tile(np.diff(sorted(ends)), max(1, tile_images // chunk), devices)
    return {"tile_images": tile_images, "chunk": chunk}


def masks_per_tile(runs: Int[np.ndarray, " runs"], most: int, devices: int) -> int:
    """Return how many masks a device takes at once, at most `most`, for runs of masks that no tile spans.

    Of a quarter of the most and larger sizes it is the largest that pads hardly more masks than the best.
    """
    most = min(most, -(-int(runs.max()) // devices))
    sizes = np.arange(max(1, most // 4), most + 1)
    padded = (-(-runs // (sizes[:, None] * devices))).sum(1) * sizes
    return int(sizes[padded <= _HARDLY_MORE * padded.min()][-1])


def fit(model: Model, *, resident_images: int, memory_mib: int = 0) -> int:
    """Return the tile size: perturbed images of a tile on one device, by XLA's analysis of the compiled tile.

    Of the parameters only the shapes are used. `resident_images` lie encoded on the device beside the tile.
    `memory_mib` and the error are as for `most_images`.
    """
    image = jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)
    encoded = _bytes(jax.eval_shape(model.encode_images, model.params, image))
    return most_images(
        model,
        lambda images: temporary_bytes(model, images),
        resident=resident_images * encoded,
        memory_mib=memory_mib,
        on_cpu=lambda each: max(CPU_BUDGET // each, min(CPU_IMAGES, CPU_MOST // each)),
        name="a tile",
    )


def most_images(
    model: Model,
    temporaries: Callable[[int], int],
    *,
    resident: int = 0,
    memory_mib: int,
    on_cpu: Callable[[int], int],
    name: str,
) -> int:
    """Return how many images a program can take on one device, at most MOST_IMAGES.

    Args:
      model: whose parameters are on the device.
      temporaries: number of images -> bytes of the program's temporaries.
      resident: further bytes on the device.
      memory_mib: as config.run.memory_mib.
      on_cpu: bytes of an image's temporaries -> images on a CPU without memory_mib.
      name: of the program, for the message.

    Raises:
      InputError: not one image fits into memory_mib.
    """
    fixed, each = split(temporaries, model.image_shape)
    resident += _bytes(model.params)
    if memory_mib:
        room = memory_mib * MIB - resident
        if room < fixed + each:
            least = -(-(resident + fixed + each) // MIB)
            raise InputError(f"run.memory_mib: got {memory_mib}; expected {least} or more for {name} of one image")
    elif (free := parallel.free_bytes()) is not None:
        room = free // 2 - resident
    else:
        return int(np.clip(on_cpu(each), 1, MOST_IMAGES))
    size = int(np.clip((room - fixed) // each, 1, MOST_IMAGES))
    # An accelerator's probes may lie in its caches, and larger programs may then take more memory.
    while size > 1:
        try:
            used = temporaries(size)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            used = 2 * room  # more than the whole device has
        if used <= room:
            break
        size = max(1, min(size - 1, size * room // used))
    return size


def split(temporaries: Callable[[int], int], image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the bytes of a program's temporaries for any number of images, and the bytes for each image.

    XLA may copy weights into another order. The copies of a ResNet-18 with the ImageNet stem take 38 MiB on a CPU at 32
    pixels, as much as 490 images. An image takes at least its own pixels.
    """
    few, more = temporaries(_PROBE), temporaries(2 * _PROBE)
    each = max(4 * math.prod(image_shape), -(-(more - few) // _PROBE))
    return max(0, few - _PROBE * each), each


def temporary_bytes(model: Model, images: int) -> int:
    """Return what XLA allocates for a tile of one mask and some images, beside its arguments and results."""
    return compiled_bytes(functools.partial(make_tile, model, ("loss",)), *tile_shapes(model, 1, images))


def compiled_bytes(make_program: Callable[[Mesh], Any], params: PyTree, *shapes: PyTree) -> int:
    """Return the bytes of a jitted program's temporaries on one device, for arguments with these shapes.

    A program is compiled for this once, whoever asks.
    """
    program = make_program(Mesh(np.array(parallel.local_devices()[:1]), (parallel.AXIS,)))
    arguments = jax.eval_shape(lambda params: params, params), *shapes
    known, key = _KNOWN.setdefault(program, {}), str(arguments)
    if key not in known:
        # On a CPU nothing runs it, and LLVM's optimisation changes no buffer: without it, half the time.
        options = {"xla_backend_optimization_level": 0} if parallel.local_devices()[0].platform == "cpu" else None
        known[key] = program.lower(*arguments).compile(options).memory_analysis().temp_size_in_bytes
    return known[key]


def image_batch_size(counts: Sequence[int], tile_images: int) -> int:
    """Return one image batch size, at most tile_images, for groups of `counts` images: one size, one compilation.

    It wastes the fewest padded images. Of equally good sizes it is the largest that, under several masks, fills a tile
    three quarters as well as the best.
    """
    smallest = max(1, min(max(counts), tile_images) // 4)
    sizes = range(smallest, min(max(counts), tile_images) + 1)
    padded = {size: sum(-(-count // size) * size for count in counts) for size in sizes}
    thrifty = [size for size in sizes if padded[size] == min(padded.values())]
    filled = {size: tile_images // size * size for size in thrifty}
    return max(size for size in thrifty if 4 * filled[size] >= 3 * max(filled.values()))


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
