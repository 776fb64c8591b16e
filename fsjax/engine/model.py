"""A classifier as a pure function with its parameters, and what its inputs and outputs mean."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, Int, PyTree

from fsjax.fourier import patches, spectrum, transforms
from fsjax.fourier.masks import unpack
from fsjax.fourier.spectrum import HalfSpectra, Images
from fsjax.runtime.errors import InputError, listed

# Precision of forward passes: float32, float32 with TF32 products, or bfloat16.
PRECISIONS = ("highest", "tensorfloat32", "bfloat16")
# The mean and std of images that are normalised already.
NORMALISED = (np.empty(0), np.empty(0))
# Of the sum of probabilities, in float32.
_ROUNDING = 1e-4


def check_logits(logits: Float[np.ndarray, "n outputs"], field: str) -> None:
    """Raise InputError for probabilities: searches take outputs for logits, whose log-odds a softmax would flatten."""
    if logits.shape[1] > 1 and (logits >= 0).all() and np.abs(logits.sum(1) - 1).max() < _ROUNDING:
        got, expected = "probabilities, whose sum is 1 for every image", "logits: the model without its softmax"
        raise InputError(f"{field}: got {got}; expected {expected}, or the logarithm of its outputs")


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A classifier as a pure function with its parameters; calling it with images returns their logits.

    Attributes:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: the first argument of `apply`.
      image_shape: (H, W, C).
      classes: display names of the first outputs in index order; () = not known.
      mean_std: the mean and std that normalise images, of pixels in [0, 1], per channel; NORMALISED where images come
        normalised, or where it is not known.
      apply_bfloat16: the same function computed in bfloat16; None where there is no such form.
      matmul_precision: of matrix products and convolutions, as jax.default_matmul_precision takes it. The program of a
        model file has its own, which this repeats.
      transform: how filtered images are computed, a name of `transforms.INVERSES`.
      others: names of the outputs after the classes; () = not known.
    """

    apply: Callable
    params: PyTree
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    mean_std: tuple[np.ndarray, np.ndarray] = NORMALISED
    apply_bfloat16: Callable | None = None
    matmul_precision: str = "highest"
    transform: str = "fft"
    others: tuple[str, ...] = ()

    def __call__(self, images: Float[ArrayLike, "n height width channels"]) -> Float[Array, "n logits"]:
        """Return the logits of normalised images."""
        return self.apply(self.params, jnp.asarray(images))

    @property
    def num_logits(self) -> int:
        """K, which may be more than there are classes."""
        images = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)
        return jax.eval_shape(self.apply, self.params, images).shape[-1]

    def output_name(self, output: int) -> str:
        """Return the name of an output, which may be of no class that the data have."""
        names = (*self.classes, *self.others)
        return names[output] if output < len(names) else f"output {output}"

    def at(self, precision: str, transform: str = "auto") -> "Model":
        """Return the model computed in one of PRECISIONS, with images filtered as config.search.transform says."""
        filtering = dataclasses.replace(self, transform=transforms.chosen(transform))
        if precision != "bfloat16":
            return dataclasses.replace(filtering, matmul_precision=precision)
        assert self.apply_bfloat16 is not None, "config validation rejects bfloat16 for models without that form"
        return dataclasses.replace(filtering, apply=self.apply_bfloat16, matmul_precision="default")

    def check_classes(self, classes: tuple[str, ...], where: str) -> None:
        """Raise InputError where another list of classes meets the model's."""
        if classes != self.classes:
            ours = f"{len(self.classes)} ({listed(self.classes)})"
            raise InputError(f"{where}: got {len(classes)} classes ({listed(classes)}); expected the model's {ours}")

    # How a tile computes the logits of masked images; `GraftModel` takes pairs of images, `WaveModel` waves for masks.

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image that `encode_images` takes."""
        return self.image_shape

    def encode_images(self, params: PyTree, images: Images) -> PyTree:
        """Return what `masked_logits` takes for images, computed once: their half spectra."""
        return spectrum.spectra(images)

    def filtered(self, encoded: PyTree, masks: PyTree) -> Float[Array, "masks images height width channels"]:
        """Return every encoded image under every mask, as in `tile.Perturbations`."""
        height, width = self.image_shape[:2]
        if masks.ndim == 2:
            masks = patches.without(masks, height, width)
        elif masks.dtype == jnp.uint8:
            masks = unpack(masks, width)
        return spectrum.filter_spectra(encoded, masks, transform=self.transform)

    def masked_logits(self, params: PyTree, masks: PyTree, encoded: PyTree) -> Float[Array, "masks images classes"]:
        """Return the logits of the `filtered` images."""
        images = self.filtered(encoded, masks)
        logits = self.apply(params, images.reshape(-1, *images.shape[2:]))
        return logits.reshape(*images.shape[:2], -1)


class GraftModel(Model):
    """A classifier of grafts, for an engine whose images are pairs [n, 2, H, W, C]: recipient r, then donor d.

    A mask M, which need not be constant on orbits, makes of each pair Re F^-1[(1 - M) F r + M F d].
    """

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (2, *self.image_shape)

    def encode_images(
        self, params: PyTree, images: Float[Array, "n 2 height width channels"]
    ) -> tuple[Images, HalfSpectra]:
        # A graft is the recipient plus the filtered difference, so the empty mask leaves it as it is, bit for bit.
        recipients, donors = images[:, 0], images[:, 1]
        return recipients, spectrum.spectra(donors) - spectrum.spectra(recipients)

    def filtered(
        self, encoded: tuple[Array, Array], masks: PyTree
    ) -> Float[Array, "masks images height width channels"]:
        recipients, differences = encoded
        return recipients + super().filtered(differences, masks)


class WaveModel(Model):
    """A classifier of images with one wave added to each.

    In place of masks it takes the arguments of `spectrum.waves`: positions [n, 2], and coefficients [n, images, C],
    whose last two axes may be 1 to serve all images or channels.
    """

    def encode_images(self, params: PyTree, images: Images) -> Images:
        return images

    def filtered(
        self, encoded: Array, masks: tuple[Int[Array, "n 2"], Complex[Array, "n own_images own_channels"]]
    ) -> Float[Array, "n images height width channels"]:
        return encoded + spectrum.waves(*masks, *self.image_shape[:2])


def graft_model(model: Model) -> GraftModel:
    """Return the classifier of grafts."""
    return GraftModel(**vars(model))
