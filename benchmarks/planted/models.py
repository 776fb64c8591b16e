"""Classifiers of planted sets: one whose logits are a closed form of the planted orbits, and trained ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from benchmarks.planted.sets import CLASSES, GRATING, PlantedSet, draw
from fsjax import models
from fsjax.fourier import patches, spectrum

GAIN, THRESHOLD = 10.0, 0.5
_SOFT = 0.05  # rounds the kink of |X| at 0, in units of a planted grating
_HIDDEN = 256
_BATCH = 128


def analytic(data: PlantedSet, seed: int = 0) -> Callable:
    """Return logits_fn(images [n, S, S, 3]) -> [n, classes]; the logits depend on the planted orbits only.

    With a_k = |X_k| of orbit k, averaged over channels, divided by the amplitude of a planted grating, smooth at 0:

      whole_g  = product of a_k over the members of group g
      evidence = sum of whole_g over the groups of a class               (single, pair, triple)
               = 1 - product of (1 - min(1, 2 whole_g)) over them        (redundant: one whole group is all there is)
      logit    = GAIN (evidence - THRESHOLD); 0 for the last class

    Joint groups are hard for a search by gradients: without two members all derivatives of a group are 0, and a_k has
    derivative 0 where orbit k is missing. In `redundant` the derivatives of whole groups are 0 too.
    """
    del seed
    owners, groups, members, _ = data.groups.shape
    row, column = data.groups.reshape(-1, 2).T
    redundant = data.kind == "redundant"

    def logits_fn(images):
        whole = _amplitudes(images, row, column).reshape(-1, owners, groups, members).prod(-1)
        evidence = 1 - (1 - jnp.minimum(1, 2 * whole)).prod(-1) if redundant else whole.sum(-1)
        return jnp.concatenate([GAIN * (evidence - THRESHOLD), jnp.zeros((len(images), 1))], axis=1)

    return logits_fn


def trained(data: PlantedSet, seed: int = 0, *, steps: int = 1000) -> Callable:
    """Return the logits_fn of a trained perceptron with two hidden layers on the amplitudes a_k of all orbits.

    It has no prior information about the planted orbits. It learns the joint sets; the ViT does not in 1,000 steps.
    """
    row, column = patches.orbit_positions(data.size, data.size).T
    widths = (len(row), _HIDDEN, _HIDDEN, CLASSES)
    keys = jax.random.split(jax.random.key(seed), len(widths) - 1)
    params = [
        {"kernel": jax.random.normal(key, (fan_in, fan_out)) / np.sqrt(fan_in), "bias": jnp.zeros(fan_out)}
        for key, fan_in, fan_out in zip(keys, widths[:-1], widths[1:], strict=True)
    ]

    def apply(params, images):
        x = _amplitudes(images, row, column)
        for layer in params[:-1]:
            x = jax.nn.gelu(x @ layer["kernel"] + layer["bias"])
        return x @ params[-1]["kernel"] + params[-1]["bias"]

    params = fit(apply, params, data, steps=steps, rate=2e-3, seed=seed)
    return lambda images: apply(params, images)


def trained_vit(data: PlantedSet, seed: int = 0, *, steps: int = 600) -> Callable:
    """Return the logits_fn of a trained vit_micro_patch8, which reads pixels."""
    network = models.build("vit_micro_patch8", num_classes=CLASSES, image_size=data.size)
    params = fit(network.apply, network.init(seed), data, steps=steps, rate=1e-3, seed=seed)
    return lambda images: network.apply(params, images)


def fit(apply: Callable, params: PyTree, data: PlantedSet, *, steps: int, rate: float, seed: int) -> PyTree:
    """Return parameters trained by AdamW on new images at every step.

    Training starts with easy images, whose incomplete groups are empty. Over its first half the set's images replace
    them; on these alone no network learned the joint groups. Half of the images are thinned: otherwise a network
    predicts a class for all images under a mask of the class's orbits, whether groups are whole or not.
    """
    optimizer = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, rate, min(50, steps // 2), steps))

    @jax.jit
    def update(params, state, images, labels):
        def loss(params):
            return optax.softmax_cross_entropy_with_integer_labels(apply(params, images), labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state, rng = optimizer.init(params), np.random.default_rng([seed, 3])
    for step in range(steps):
        labels = rng.integers(0, CLASSES, _BATCH)
        easy = max(0.0, 1 - 2 * step / steps)
        images = draw(data.kind, data.size, data.groups, data.distractors, labels, rng, easy=easy, thinned=0.5)
        params, state = update(params, state, images, labels)
    return params


def _amplitudes(
    images: Float[Array, "n size size 3"], row: Int[np.ndarray, " orbits"], column: Int[np.ndarray, " orbits"]
) -> Float[Array, "n orbits"]:
    """Return a_k of the orbits at these positions of the centred plane."""
    grey = images.mean(-1, keepdims=True)
    relative = spectrum.amplitude(grey)[:, row, column, 0] / (GRATING * grey.size / len(grey) / 2)
    return jnp.sqrt(relative**2 + _SOFT**2) - _SOFT
