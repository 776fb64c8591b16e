"""What the data offer before any model is trained: which classes have more of a frequency than others (METHOD 4).

E_c(u,v) is the mean of |F x(u,v)| over the images of class c; ADCS_c(u,v), the accumulative difference of class-wise
spectra, is the sum of sign(E_c - E_j) over the other classes j (Wang et al., ICCV 2023): C-1 where the class has most
of the frequency, 1-C where it has least.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Float32, Int, UInt8
from scipy.stats import rankdata

from fsjax.data.preprocess import normalise
from fsjax.fourier import spectrum
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.progress import Progress

# The published code: how it makes one channel of three, and what it puts in the place of a zero.
_GREY, _ZERO = (0.2989, 0.5870, 0.1140), 12e-12
# Pixels of a device's batch: 1,024 images of 32 x 32.
_PIXELS = 2**20
# Frequencies that are ranked at once.
_RANKED = 2**12


def class_amplitudes(
    read: Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n height width 3"]],
    labels: Int[np.ndarray, " images"],
    classes: int,
    plane: tuple[int, int],
    mean_std: tuple[np.ndarray, np.ndarray],
    *,
    compat: bool = False,
) -> Float[np.ndarray, "classes height width"]:
    """E of each class in float64, on the centred plane and constant on orbits; NaN for a class without images.

    Images are read once, in batches that are split over the local devices; each process takes a contiguous share of
    them, and all return the same.

    Args:
      read: indices -> images, grey levels in [0, 255].
      labels: class of each image.
      classes: how many there are.
      plane: (H, W).
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      compat: as the published code: sums and not means over the images, zeros of the transform replaced by 12e-12, and
        channels weighted 0.2989, 0.5870, 0.1140 instead of averaged.

    Raises:
      interrupt.Terminated: SIGTERM came; nothing is kept.
    """
    transform, batch = _transform(mean_std, compat), _batch_size(plane, len(labels))
    sums = np.zeros((classes, len(spectrum.orbit_sizes(*plane))))

    def add(indices: Int[np.ndarray, " n"], amplitudes: Float32[Array, "padded orbits"]) -> None:
        found, own = np.asarray(amplitudes)[: len(indices)], labels[indices]
        for label in np.unique(own):
            sums[label] += found[own == label].sum(0, dtype=np.float64)

    mine = np.arange(len(labels))[parallel.share(len(labels))]
    waiting = None
    with Progress("adcs", len(mine), "images") as progress:
        for start in range(0, len(mine), batch):
            indices = mine[start : start + batch]
            images = np.pad(read(indices), [(0, batch - len(indices)), (0, 0), (0, 0), (0, 0)])
            under_way = transform(images)
            if waiting:  # added up while the devices are at the next batch
                add(*waiting)
            waiting = indices, under_way
            progress.update(len(indices))
            interrupt.check()
        if waiting:
            add(*waiting)
    sums = parallel.total(sums)
    if not compat:
        counts = np.bincount(labels, minlength=classes).astype(float)
        sums /= np.where(counts > 0, counts, np.nan)[:, None]
    return sums[:, spectrum.orbits(*plane)]


def adcs(
    amplitudes: Float[np.ndarray, "classes height width"], *, compat: bool = False
) -> Int[np.ndarray, "classes height width"]:
    """ADCS of each class, whole numbers in [1-C, C-1]: how many classes have less of a frequency minus how many more.

    Ranks tell both, so that no pair of classes has to be compared.

    Args:
      amplitudes: what `class_amplitudes` returned.
      compat: as the published code: a tie counts as less amplitude, and every class ties with itself, so that values
        lie in [-C, C-2].
    """
    classes = len(amplitudes)
    flat = amplitudes.reshape(classes, -1)
    found = np.empty(flat.shape, np.int16 if classes < 2**15 else np.int32)
    for start in range(0, flat.shape[1], _RANKED):
        part = slice(start, start + _RANKED)
        below = rankdata(flat[:, part], "min", axis=0) - 1
        above = classes - (below if compat else rankdata(flat[:, part], "max", axis=0))
        found[:, part] = below - above
    return found.reshape(amplitudes.shape)


def _transform(mean_std: tuple[np.ndarray, np.ndarray], compat: bool) -> Callable:
    """images -> |F x| of each orbit, one channel of three."""
    split = NamedSharding(parallel.mesh(), P(parallel.AXIS))
    weights = jnp.asarray(_GREY if compat else (1 / 3, 1 / 3, 1 / 3), jnp.float32)

    @jax.jit
    def transform(images):
        amplitudes = spectrum.orbit_amplitudes(normalise(images, *mean_std))
        if compat:
            amplitudes = jnp.where(amplitudes == 0, _ZERO, amplitudes)
        return jnp.einsum("ioc,c->io", amplitudes, weights, precision="highest")

    return lambda images: transform(jax.device_put(images, split))


def _batch_size(plane: tuple[int, int], images: int) -> int:
    """A multiple of the devices; no larger than what they need for all images."""
    devices = len(parallel.local_devices())
    return devices * max(1, min(_PIXELS // (plane[0] * plane[1]), -(-images // devices)))
