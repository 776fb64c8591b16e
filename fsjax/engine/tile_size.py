"""How large a tile is: from the memory there is, and so that groups of images are cut with little waste."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from fsjax.engine.first_layer import Cut
from fsjax.engine.tile import Chunk, Perturbations, Removals, make_tile
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError

MIB = 2**20
# Temporaries of a tile on a CPU. Of the models measured a ViT's plain forward passes were fastest up to 11 MiB, 4 %
# slower at 15 and 8 % at 22; a ResNet-18's wanted 16 images, for which it takes 20 MiB; beyond 25 MiB all were slower,
# by up to a quarter.
CPU_BUDGET, CPU_IMAGES, CPU_MOST = 11 * MIB, 16, 22 * MIB
# Larger tiles gain nothing on any device, and cost more padding and a longer wait for SIGTERM.
MOST_IMAGES = 2048
_PROBE = 8


def layout(
    apply: Callable,
    params: PyTree,
    image: tuple[int, int, int],
    counts: Sequence[int],
    *,
    memory_mib: int = 0,
    precision: str = "highest",
    cut: Cut | None = None,
) -> dict[str, int]:
    """How the work of a search is cut, for groups of these many images that lie on the devices one at a time.

    Args:
      cut: of the model, where the search can use it; it then needs the features of a whole group on each device.
      others: as in `fit`.

    Returns:
      `tile_images` and `chunk`, as the engine takes them, and `first_layer`: whether to give it the cut (0 or 1).

    Raises:
      InputError: not one image fits into memory_mib.
    """
    if cut is not None and not _has_room(cut, max(counts), memory_mib):
        cut = None
    options: dict[str, Any] = {"memory_mib": memory_mib, "precision": precision, "cut": cut}
    tile_images = fit(apply, params, image, resident_images=max(counts), **options)
    return {
        "tile_images": tile_images,
        "chunk": chunk_size(counts, tile_images),
        "first_layer": int(cut is not None),
    }


def fit(
    apply: Callable,
    params: PyTree,
    image: tuple[int, int, int],
    *,
    resident_images: int,
    memory_mib: int = 0,
    precision: str = "highest",
    cut: Cut | None = None,
) -> int:
    """How many perturbed images a tile can have on one device, by XLA's own analysis of the compiled tile.

    Args:
      apply: as the engine takes it.
      params: as the engine takes them; only their shapes are used.
      image: (H, W, C).
      resident_images: images whose spectra lie on the device beside the tile.
      memory_mib: for the parameters, the spectra and a tile's temporaries together, on each device. 0 = temporaries
        that fit a CPU's cache, or half of what an accelerator has free.
      precision: as the engine takes it.
      cut: as the engine takes it.

    Raises:
      InputError: not one image fits into memory_mib.
    """
    height, width, channels = image
    resident = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    resident += resident_images * (height * (width // 2 + 1) * channels * 8 + _feature_bytes(cut))
    return most_images(
        lambda images: temporary_bytes(apply, params, image, images, precision, cut),
        image,
        resident=resident,
        memory_mib=memory_mib,
        on_cpu=lambda each: max(CPU_BUDGET // each, min(CPU_IMAGES, CPU_MOST // each)),
        name="a tile",
    )


def most_images(
    temporaries: Callable[[int], int],
    image: tuple[int, int, int],
    *,
    resident: int,
    memory_mib: int,
    on_cpu: Callable[[int], int],
    name: str,
) -> int:
    """How many images a program can have on one device, at most MOST_IMAGES.

    Args:
      temporaries: as `split` takes them.
      image: (H, W, C).
      resident: bytes on the device beside them.
      memory_mib: for both. 0 = as many as `on_cpu` says, or half of what an accelerator has free.
      on_cpu: bytes of an image's temporaries -> images.
      name: of the program, for the message.

    Raises:
      InputError: not one image fits into memory_mib.
    """
    fixed, each = split(temporaries, image)
    resident += fixed
    if memory_mib:
        size = (memory_mib * MIB - resident) // each
        if size < 1:
            least = -(-(resident + each) // MIB)
            raise InputError(
                f"run.memory_mib: {memory_mib} is too little for {name} of one image; expected {least} or more"
            )
    else:
        free = parallel.free_bytes()
        size = on_cpu(each) if free is None else (free // 2 - resident) // each
    return int(np.clip(size, 1, MOST_IMAGES))


def split(temporaries: Callable[[int], int], image: tuple[int, int, int]) -> tuple[int, int]:
    """Bytes of temporaries that a program takes whatever its number of images, and for each image.

    XLA may copy weights into another order. Those of a ResNet-18 with the ImageNet stem take 38 MiB on a CPU at 32
    pixels, as much as 490 images do.

    Args:
      temporaries: number of images -> bytes, by XLA's analysis.
      image: (H, W, C). An image takes its own pixels at least.
    """
    few, more = temporaries(_PROBE), temporaries(2 * _PROBE)
    each = max(4 * math.prod(image), -(-(more - few) // _PROBE))
    return max(0, few - _PROBE * each), each


def temporary_bytes(
    apply: Callable,
    params: PyTree,
    image: tuple[int, int, int],
    images: int,
    precision: str = "highest",
    cut: Cut | None = None,
) -> int:
    """What XLA allocates for a tile of one mask and so many images, beside its arguments and its results."""
    height, width, channels = image
    mesh = Mesh(np.array(parallel.local_devices()[:1]), (parallel.AXIS,))
    tile: Any = make_tile(apply, ("loss",), mesh, precision, cut)
    shape: Any = jax.ShapeDtypeStruct  # in the place of arrays
    perturbations: Perturbations | Removals
    perturbations, features = Perturbations(shape((1, height, width), jnp.bool_)), None
    if cut:
        basis = shape((1, channels, 2, *cut.features), jnp.float32)
        perturbations = Removals(shape((1, 2), jnp.int32), shape((1,), jnp.float32), basis)
        features = shape((images, *cut.features), jnp.float32)
    chunk = Chunk(
        shape((images, height, width // 2 + 1, channels), jnp.complex64),
        shape((images,), jnp.int32),
        shape((images, 1), jnp.float32),
        features,
    )
    params = jax.tree.map(lambda leaf: shape(leaf.shape, leaf.dtype), params)
    return tile.lower(params, perturbations, chunk).compile().memory_analysis().temp_size_in_bytes


def chunk_size(counts: Sequence[int], tile_images: int) -> int:
    """The chunk size, at most tile_images, for groups of these many images.

    One size for all groups means one compilation. It wastes the fewest padded images. Of equally good ones it is the
    largest that, under several masks, fills three quarters of what any of them fills of a tile.
    """
    smallest = max(1, min(max(counts), tile_images) // 4)
    sizes = range(smallest, min(max(counts), tile_images) + 1)
    padded = {size: sum(-(-count // size) * size for count in counts) for size in sizes}
    thrifty = [size for size in sizes if padded[size] == min(padded.values())]
    filled = {size: tile_images // size * size for size in thrifty}
    return max(size for size in thrifty if 4 * filled[size] >= 3 * max(filled.values()))


def _has_room(cut: Cut, images: int, memory_mib: int) -> bool:
    """Whether the features of so many images leave most of a device's memory to everything else."""
    if memory_mib:
        room = memory_mib * MIB // 2
    elif (free := parallel.free_bytes()) is not None:
        room = free // 4
    else:
        room = parallel.host_bytes() // 4 // len(parallel.local_devices())
    return images * _feature_bytes(cut) <= room


def _feature_bytes(cut: Cut | None) -> int:
    """Of one image."""
    return math.prod(cut.features) * 4 if cut else 0
