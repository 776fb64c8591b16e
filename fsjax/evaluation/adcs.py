"""ADCS: which classes of a data set have more of a frequency than others, before any model is trained.

E_c(u,v) is the mean of |F x(u,v)| over the images of class c; ADCS_c(u,v), the accumulative difference of class-wise
spectra, is the sum of sign(E_c - E_j) over the other classes j (Wang et al., ICCV 2023): C-1 where the class has most
of the frequency, 1-C where it has least.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Float32, Int, UInt8

from fsjax.data.normalisation import normalise
from fsjax.fourier import spectrum
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.progress import Progress
from fsjax.runtime.workers import read_ahead

# Of the published code: the weights of the three channels, and the replacement of zeros.
_GREY, _ZERO = (0.2989, 0.5870, 0.1140), 12e-12
# Pixels of a device's batch: 1,024 images of 32 x 32.
_PIXELS = 2**20


def class_amplitudes(
    read: Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n height width 3"]],
    labels: Int[np.ndarray, " images"],
    classes: int,
    plane: tuple[int, int],
    mean_std: tuple[np.ndarray, np.ndarray],
    *,
    compat: bool = False,
) -> Float[np.ndarray, "classes height width"]:
    """Return E of each class in float64, on the centred plane and constant on orbits; NaN for a class without images.

    Collective: every process must call this, reads a contiguous share of the images and returns the same.

    `mean_std` normalises pixels in [0, 1]. `compat` computes as the published code: sums instead of means over the
    images, zeros of the transform replaced by 12e-12, and channels weighted 0.2989, 0.5870, 0.1140 instead of averaged.
    """
    devices, split = len(parallel.local_devices()), parallel.layouts(parallel.mesh())[0]
    batch = devices * max(1, min(_PIXELS // (plane[0] * plane[1]), -(-len(labels) // devices)))
    weights = jnp.asarray(_GREY if compat else (1 / 3, 1 / 3, 1 / 3), jnp.float32)
    sums = np.zeros((classes, len(spectrum.orbit_sizes(*plane))))
    mine = np.arange(len(labels))[parallel.share(len(labels))]

    @jax.jit
    def transform(images: UInt8[Array, "n height width 3"]) -> Float32[Array, "n orbits"]:
        amplitudes = spectrum.orbit_amplitudes(normalise(images, *mean_std))
        if compat:
            amplitudes = jnp.where(amplitudes == 0, _ZERO, amplitudes)
        return jnp.einsum("ioc,c->io", amplitudes, weights, precision="highest")

    def compute(start: int) -> tuple[Int[np.ndarray, " n"], Float32[Array, "padded orbits"]]:
        indices = mine[start : start + batch]
        padded = np.pad(read(indices), [(0, batch - len(indices)), (0, 0), (0, 0), (0, 0)])
        return indices, transform(jax.device_put(padded, split))

    with Progress("adcs", len(mine), "images") as progress:
        for _, (indices, computing) in read_ahead(compute, range(0, len(mine), batch)):
            amplitudes, batch_labels = np.asarray(computing)[: len(indices)], labels[indices]
            for label in np.unique(batch_labels):
                sums[label] += amplitudes[batch_labels == label].sum(0, dtype=np.float64)
            progress.update(len(indices))
            interrupt.check()
    sums = parallel.total(sums)
    if not compat:
        counts = np.bincount(labels, minlength=classes).astype(float)
        sums /= np.where(counts > 0, counts, np.nan)[:, None]
    return sums[:, spectrum.orbits(*plane)]


def adcs(
    amplitudes: Float[np.ndarray, "classes height width"], *, compat: bool = False
) -> Int[np.ndarray, "classes height width"]:
    """Return each class's ADCS in [1-C, C-1]: how many classes have less of a frequency, minus how many have more.

    Ranks give both, so no pairs of classes are compared. With `compat`, as in the published code, a tie counts as less
    amplitude, and every class ties with itself: values lie in [-C, C-2].
    """
    classes = len(amplitudes)
    below = scipy.stats.rankdata(amplitudes, "min", axis=0) - 1
    above = classes - (below if compat else scipy.stats.rankdata(amplitudes, "max", axis=0))
    return (below - above).astype(np.int16)
