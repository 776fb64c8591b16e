"""A faster way to remove single orbits from the images of a model that begins with a convolution.

The first convolution is linear, so an orbit's two waves pass through it once, and are subtracted from what it makes of
each image. That saves the transform and the first convolution of every masked image. `split` is the only entrance.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Complex, Float, Int, PyTree

from fsjax.engine.model import Model, apply_to_pairs
from fsjax.fourier import spectrum


def split(model: Model) -> "SplitModel | None":
    """Return the model split behind its first convolution, found in its jaxpr, also behind a change of layout.

    None where something else takes the images: a model in bfloat16, which rounds them first, is not split. The masks
    of a split model are rows (row, column, share): a position of the centred plane, and the share of its orbit that is
    removed (1 = all of it; 1/2 = what removing one of two members does; 0 = nothing).
    """
    splitted = SplitModel(**{field.name: getattr(model, field.name) for field in dataclasses.fields(model)})
    # Several images, so that the axis of the images is none of length 1.
    return None if _until_convolution(splitted.trace(7)) is None else splitted


class SplitModel(Model):
    """apply(params, images) = rest(params, first(params, images)), for any number of images."""

    def first(
        self, params: PyTree, images: Float[Array, "n height width channels"]
    ) -> Float[Array, "n rows columns features"]:
        """Return the features that the convolution makes of images; linear, since the bias is in `rest`."""
        closed, taken = self._traced(len(images))
        equations = closed.jaxpr.eqns[: taken[-1] + 1]
        until = closed.jaxpr.replace(eqns=equations, outvars=equations[-1].outvars)
        (features,) = jax.core.eval_jaxpr(until, closed.consts, *jax.tree.leaves(params), images)
        return features

    def rest(self, params: PyTree, features: Float[Array, "n rows columns features"]) -> Float[Array, "n classes"]:
        """Return the logits that the rest of the model makes of features."""
        closed, taken = self._traced(len(features))
        equations = [equation for index, equation in enumerate(closed.jaxpr.eqns) if index not in taken]
        outputs = closed.jaxpr.eqns[taken[-1]].outvars
        behind = closed.jaxpr.replace(eqns=equations, invars=[*closed.jaxpr.invars[:-1], *outputs])
        (logits,) = jax.core.eval_jaxpr(behind, closed.consts, *jax.tree.leaves(params), features)
        return logits

    @property
    def mask_spec(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, 3), jnp.float32)

    def encode_images(self, params: PyTree, images: Float[Array, "n height width channels"]) -> tuple[Array, Array]:
        return spectrum.spectra(images), self.first(params, images)

    @property
    def encode_masks(self) -> Callable:
        return self._with_wave_features

    def masked_logits(
        self,
        params: PyTree,
        masks: PyTree,
        components: Complex[Array, "masks height width channels"] | None,
        encoded: PyTree,
        labels: Int[Array, " images"],
    ) -> Float[Array, "masks images classes"]:
        assert components is None, "a split model takes removed orbits only"
        (removed, wave_features), (spectra, features) = masks, encoded
        amplitudes = spectrum.wave_amplitudes(spectra, _positions(removed), self.image_shape[1])
        amplitudes = amplitudes * removed[:, 2, None, None, None]
        features = features[None]
        # Term by term and not as a matrix product: one pass over the features, which the model's next operations join.
        for channel in range(amplitudes.shape[2]):
            for wave in range(2):
                amplitude = amplitudes[:, :, channel, wave, None, None, None]
                features = features - amplitude * wave_features[:, None, channel, wave]
        return apply_to_pairs(self.rest, params, features)

    def _with_wave_features(
        self, params: PyTree, removed: Float[Array, "masks 3"]
    ) -> tuple[Float[Array, "masks 3"], Float[Array, "masks channels 2 rows columns features"]]:
        """Add what the first convolution makes of each orbit's waves, in each channel by itself."""
        height, width, channels = self.image_shape
        waves = spectrum.waves(_positions(removed), height, width)
        # [masks, channels, 2, H, W, channels]: a wave in one channel and 0 in the others.
        images = waves[:, None, ..., None] * jnp.eye(channels)[:, None, None, None]
        features = self.first(params, images.reshape(-1, *self.image_shape))
        return removed, features.reshape(*images.shape[:3], *features.shape[1:])

    def trace(self, count: int) -> ClosedJaxpr:
        """Return the jaxpr of `apply` for a number of images."""
        images = jax.ShapeDtypeStruct((count, *self.image_shape), jnp.float32)
        return jax.make_jaxpr(self.apply)(self.params, images)

    def _traced(self, count: int) -> tuple[ClosedJaxpr, list[int]]:
        closed = self.trace(count)
        taken = _until_convolution(closed)
        assert taken is not None, "a convolution that takes some images takes any number"
        return closed, taken


def _positions(removed: Float[Array, "masks 3"]) -> Array:
    return removed[:, :2].astype(jnp.int32)


def _until_convolution(closed: ClosedJaxpr) -> list[int] | None:
    """Return the indices of the equations from the images, the last argument, to the convolution that takes them.

    Those before the convolution change the layout of each image, as models with channels first do. None where the
    images go elsewhere too, or something else takes them.
    """
    images: Any = closed.jaxpr.invars[-1]
    count, path = images.aval.shape[0], []
    while True:
        takers = [index for index, equation in enumerate(closed.jaxpr.eqns) if _takes(equation, images)]
        if len(takers) != 1 or any(variable is images for variable in closed.jaxpr.outvars):
            return None
        equation = closed.jaxpr.eqns[takers[0]]
        path += takers
        if equation.primitive.name == "conv_general_dilated":
            axes = equation.params["dimension_numbers"]
            image_by_image = axes.lhs_spec[0] == axes.out_spec[0] == 0 and equation.params["batch_group_count"] == 1
            return path if image_by_image and equation.invars[0] is images else None
        if not _changes_layout(equation, count):
            return None
        (images,) = equation.outvars


def _changes_layout(equation: JaxprEqn, count: int) -> bool:
    """Return whether an equation only moves the numbers of each image, whose axis stays the first."""
    before: Any = equation.invars[0].aval
    after: Any = equation.outvars[0].aval
    match equation.primitive.name:
        case "transpose":
            return equation.params["permutation"][0] == 0
        case "reshape":
            return equation.params["dimensions"] is None and after.shape[:1] == (count,)
        case "broadcast_in_dim":
            return before.size == after.size and equation.params["broadcast_dimensions"][0] == 0
        case "squeeze":
            return 0 not in equation.params["dimensions"]
    return False


def _takes(equation: JaxprEqn, variable: Var) -> bool:
    return any(taken is variable for taken in equation.invars if not isinstance(taken, Literal))
