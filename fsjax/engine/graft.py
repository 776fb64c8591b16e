"""Grafts: the third kind of perturbation, which puts a mask's frequencies of one image into another."""

from jaxtyping import Array, Complex, Float, Int, PyTree

from fsjax.engine.model import Model, apply_to_pairs
from fsjax.fourier import spectrum


class GraftModel(Model):
    """A classifier of grafts, for an engine whose images are pairs [n, 2, H, W, C]: recipient r, then donor d.

    A mask M, which need not be constant on orbits, makes of each pair Re F^-1[(1 - M) F r + M F d].
    """

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (2, *self.image_shape)

    def encode_images(
        self, params: PyTree, images: Float[Array, "n 2 height width channels"]
    ) -> tuple[Float[Array, "n height width channels"], Complex[Array, "n height half channels"]]:
        # A graft is the recipient plus the filtered difference, so the empty mask leaves it as it is, bit for bit.
        recipients, donors = images[:, 0], images[:, 1]
        return recipients, spectrum.spectra(donors) - spectrum.spectra(recipients)

    def masked_logits(
        self,
        params: PyTree,
        masks: PyTree,
        components: Complex[Array, "masks height width channels"] | None,
        encoded: tuple[Array, Array],
        labels: Int[Array, " images"],
    ) -> Float[Array, "masks images classes"]:
        recipients, differences = encoded
        filters = self.filters(masks, labels)
        grafted = recipients + spectrum.filter_spectra(differences, filters, components, self.transform)
        return apply_to_pairs(self.apply, params, grafted)


def graft_model(model: Model) -> GraftModel:
    """Return the classifier of grafts."""
    return GraftModel(**vars(model))
