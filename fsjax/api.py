"""Library calls beside `analyse`: searches, grafts and filters of any JAX callable, and PyTorch's weights as one."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from fsjax import search
from fsjax.data.in_memory import ArrayDataset
from fsjax.data.preprocess import NORMALISED
from fsjax.data.splits import count_classes, normalised_images
from fsjax.evaluation import attribution
from fsjax.fourier import dfm, spectrum
from fsjax.models import state_dict
from fsjax.models.callables import as_model
from fsjax.models.classifier import Classifier
from fsjax.models.folding import fold
from fsjax.runtime import storage, torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search import arguments
from fsjax.search.problem import of_dataset


def dominant_frequencies(
    logits_fn: Any,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    method: str = "removal",
    patch: int = 1,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    resamples: int = -1,
    classes: Sequence[str] | None = None,
    precision: str = "highest",
    seed: int = 0,
    directory: str | Path | None = None,
    memory_mib: int = 0,
    save_seconds: int | float = 30,
    searched_on: str = "train",
    **fields: Any,
) -> dfm.DominantFrequencyMaps:
    """Find the dominant frequency maps of a classifier with one of the search methods.

    Collective: in several processes every one calls this with the same arguments, takes its share of the work and
    returns the same maps.

    Args:
      logits_fn: images [n, H, W, C] float32, for any n -> logits [n, K], K >= num_classes, of each image by itself; JAX
        can trace it. Or another model that `analyse` takes. The arrays it closes over become arguments of the compiled
        program, so other weights do not trigger recompilation.
      images: [n, H, W, C] as logits_fn takes them: normalised, where it wants that. Any height, width and channels.
      labels: [n], class index of each image, in [0, num_classes); every class has an image.
      num_classes: how many classes are searched.
      method: a name of fsjax.search.SEARCHES. removal_compat sorts the images by class.
      patch: side of the square of frequencies removed together; divides height and width.
      shares: of the plane that the maps keep, in (0, 1]; where the method has patches, each has room for one with its
        conjugate, which a share of 0.01 lacks below 15 x 15.
      resamples: bootstrap resamples of the images; the provenance compares their maps with these under "stability".
        -1 = 20 for removal, at no extra cost, and none for the others, which search once more for each.
      classes: names in index order; default '0', '1', ...
      precision: 'highest' (float32) or 'tensorfloat32', whose agreement with 'highest' stands in the maps' provenance.
      seed: of the method's random draws.
      directory: of partial results, from which a restart resumes; tied to the images, the labels and the weights.
      memory_mib: of a device, for the images, the weights and a tile; 0 = chosen.
      save_seconds: between two partial results.
      searched_on: 'train' or 'test', recorded in the maps.
      **fields: the method's own, such as steps=100: those of config.search under its name.

    Raises:
      InputError: a ValueError that names what cannot be used.

    Examples:
      >>> maps = fsjax.dominant_frequencies(model, images, labels, num_classes=3, classes=names, shares=(0.05, 0.2))
      >>> maps.masks.shape, maps.positions[0].tolist()  # of 64 positions, at the first share, by class
      ((2, 3, 8, 8), [3, 3, 2])
      >>> np.argwhere(maps.scores[1] > 0.1).tolist()  # nats, on the centred plane: DC is at (4, 4)
      [[1, 2], [7, 6]]
    """
    if precision == "bfloat16":
        raise InputError("precision: got 'bfloat16', which is up to the callable; expected highest, tensorfloat32")
    if memory_mib < 0:
        raise InputError(f"memory_mib: got {memory_mib}; expected 0 or more")
    images, labels = normalised_images(images, "images"), np.asarray(labels)
    count_classes(labels, len(images), num_classes)
    names = tuple(classes) if classes is not None else tuple(str(label) for label in range(num_classes))
    if len(names) != num_classes:
        raise InputError(f"classes: got {len(names)} names; expected {num_classes}, one a class")
    options = arguments.options_of(
        method,
        fields,
        patch=patch,
        split=searched_on,
        precision=precision,
        images_per_class=0,
        shares=tuple(shares),
        resamples=resamples,
    )
    search.check(options, images.shape[1:3])
    dataset = ArrayDataset(images, labels, names)
    return search.run(
        of_dataset(
            Classifier(as_model(logits_fn, images, num_classes, "logits_fn"), NORMALISED, names),
            dataset,
            options=options,
            seed=seed,
            searched_on=searched_on,
            run=ConfigDict({"memory_mib": memory_mib, "save_seconds": float(save_seconds)}),
            provenance={},
            directory=storage.path(directory) if directory is not None else None,
            identity=arguments.identity(options, seed, dataset),
        )
    )


class Graft(NamedTuple):
    """Images with frequencies of others, and what a model says of them.

    Attributes:
      images: the grafts, [n, H, W, C].
      logits: of the grafts, [n, K].
      before: logits of the recipients as they are, [n, K].

    Examples:
      >>> grafts = fsjax.graft(model, images[labels == 0], images[labels == 1], maps.at(0.05)[1])  # a Graft
      >>> grafts.images.shape, grafts.logits.shape, grafts.before.shape
      ((15, 8, 8, 1), (15, 3), (15, 3))
    """

    images: Float[np.ndarray, "n height width channels"]
    logits: Float[np.ndarray, "n outputs"]
    before: Float[np.ndarray, "n outputs"]


def graft(model: Any, recipients: ArrayLike, donors: ArrayLike, mask: ArrayLike) -> Graft:
    """Put frequencies of some images into others, and ask the model what they are.

    A graft is Re F^-1[(1 - M) F r + M F d] of recipient r and donor d, channel by channel.

    Args:
      model: as of `analyse`.
      recipients: [n, H, W, C], normalised.
      donors: [n, H, W, C], normalised, one for each recipient.
      mask: True where a frequency is the donor's, [H, W] on the centred plane.

    Raises:
      InputError: a ValueError that names what cannot be used.

    Examples:
      >>> recipients, donors = images[labels == 0], images[labels == 1]
      >>> grafts = fsjax.graft(model, recipients, donors, maps.at(0.05)[1])
      >>> float((grafts.before.argmax(1) == 1).mean()), float((grafts.logits.argmax(1) == 1).mean())
      (0.0, 1.0)
    """
    recipients, donors = normalised_images(recipients, "recipients"), normalised_images(donors, "donors")
    if donors.shape != recipients.shape:
        raise InputError(f"donors: got shape {donors.shape}; expected {recipients.shape}, one for each recipient")
    checked = _mask(mask, recipients.shape[1:3])
    of = as_model(model, recipients, 1)
    _, grafted = spectrum.graft(jnp.asarray(recipients), jnp.asarray(donors), checked)
    with jax.default_matmul_precision(of.matmul_precision):
        logits = np.asarray(jax.jit(of.apply)(of.params, jnp.concatenate([grafted, jnp.asarray(recipients)])))
    return Graft(np.asarray(grafted), *np.split(logits, 2))


def filter(images: ArrayLike, mask: ArrayLike) -> Float[np.ndarray, "n height width channels"]:
    """Return images that keep only a mask's frequencies, Re F^-1[M F x], channel by channel.

    Args:
      images: [n, H, W, C], floats.
      mask: True where a frequency is kept, [H, W] on the centred plane: DC is at (H // 2, W // 2).

    Raises:
      InputError: a ValueError that names what cannot be used.

    Examples:
      >>> dc = np.zeros((8, 8), bool)
      >>> dc[4, 4] = True
      >>> np.allclose(fsjax.filter(images, dc), images.mean((1, 2), keepdims=True), atol=1e-6)
      True
    """
    images = normalised_images(images, "images")
    mask = _mask(mask, images.shape[1:3])
    return np.asarray(spectrum.filter_images(jnp.asarray(images), jnp.asarray(mask[None])))[0]


def attribute(
    model: Any,
    images: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    shares: Sequence[float] | None = None,
    steps: int = 8,
    refinements: int = 24,
    seed: int = 0,
) -> attribution.Attribution:
    """Rank the frequencies of single images by what they add to the prediction, and find the sets that keep it.

    Every image is put into a baseline orbit by orbit. What an orbit adds to the log-odds of the predicted class on the
    straight way is its score, in nats: integrated gradients (Sundararajan, Taly and Yan, ICML 2017) in the Fourier
    basis. The order in which sets grow is refined where the sets lie; `fsjax.evaluation.attribution.attribute` says
    how. The sets show what suffices for this model and baseline; others of the same size may suffice as well.

    Args:
      model: as of `analyse`, of two or more classes.
      images: [n, H, W, C] as the model takes them: normalised, where it wants that. Any height, width and channels.
      baseline: what an image without the frequencies is: another image, a blurred copy, the mean of a class;
        [H, W, C] for all images, or one an image. None = zeros, an empty spectrum: mean colour of normalised images.
      shares: of the plane, in (0, 1], at which sets of the first orbits are put in and taken out; None = 0.5 to 32 %.
      steps: points of the straight path.
      refinements: slopes that refine the order, 3 forward equivalents an image each, as the steps; 0 = by the scores.
      seed: of the random order that stands beside.

    Raises:
      InputError: a ValueError that names what cannot be used.

    Examples:
      >>> found = fsjax.attribute(model, images[labels == 1][:4])
      >>> found.smallest_shares.tolist()  # of the plane: what suffices for each prediction
      [0.03125, 0.03125, 0.03125, 0.03125]
      >>> found.masks(0.04).shape  # bool [n, H, W]: the 4 % of each image that decided
      (4, 8, 8)
    """
    images = normalised_images(images, "images")
    baselines = np.zeros((), np.float32) if baseline is None else np.asarray(baseline, np.float32)
    if baseline is not None and baselines.shape not in (images.shape, images.shape[1:]):
        raise InputError(f"baseline: got shape {baselines.shape}; expected {images.shape[1:]} or {images.shape}")
    return attribution.attribute(
        as_model(model, images, 2),
        images,
        np.broadcast_to(baselines, images.shape),
        shares=shares,
        steps=steps,
        refinements=refinements,
        seed=seed,
    )


def load_weights(path: str | Path, model: str, *, image_size: int | None = None) -> Callable:
    """Load PyTorch's weights into a model of ours: images [n, S, S, 3] float32, normalised -> logits [n, K].

    The logits are those of the PyTorch module in evaluation mode. Names of torchvision, timm and the ICCV 2023 code are
    recognised; every tensor is used once. No code in the file is run.

    Args:
      path: .pt, .pth, .ckpt (also of Lightning) or .safetensors.
      model: a name of fsjax.models.MODELS.
      image_size: S; None = that of a vision transformer's positions, which are interpolated to any other.

    Raises:
      InputError: a ValueError that lists what is missing, not expected, or of another shape.

    Examples:
      >>> logits_fn = fsjax.load_weights("vit.safetensors", "vit_nano_patch8", image_size=24)
      >>> logits_fn(jnp.zeros((2, 24, 24, 3))).shape
      (2, 10)
    """
    imported = state_dict.to_variables(torch_files.read(path), model, image_size, str(path))
    apply, params = fold(imported.network, imported.variables)
    return functools.partial(apply, params)


def _mask(mask: ArrayLike, plane: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    mask = np.asarray(mask)
    if mask.shape != plane or mask.dtype != bool:
        raise InputError(f"mask: got {mask.dtype} of shape {mask.shape}; expected bool of shape {plane}")
    return mask
