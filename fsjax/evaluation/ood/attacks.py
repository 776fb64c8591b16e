"""FGSM and PGD under L-infinity: images changed by at most a radius so that their own class's loss rises.

A radius is in units of pixels in [0, 1]. Images are held in grey levels [0, 255], where 4/255 is 4 exactly. The loss is
the cross-entropy of the model's logits to the true class; its gradient goes through the normalisation and the model.
"""

import dataclasses
import functools
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree

from fsjax.data.dataset import ArrayDataset, Images
from fsjax.data.normalisation import normalise
from fsjax.evaluation.predict import batch_of_device
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress

_EXPECTED = "fgsm:RADIUS or pgd:RADIUS:STEPS with a radius in (0, 1], such as fgsm:4/255 or pgd:0.03:10"

_NEVER = -1e30  # a logit that counts for nothing, and finite: -inf among the only logits would make NaN


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack under L-infinity.

    The radius is in units of pixels in [0, 1]; 0 steps = FGSM, one step of the whole radius from the image itself.
    """

    name: str
    radius: Fraction
    steps: int = 0


def parse(text: str) -> Attack:
    """Read 'fgsm:4/255' or 'pgd:4/255:10'; raises InputError for an unknown attack and a radius outside (0, 1]."""
    kind, *numbers = (part.strip() for part in text.split(":"))
    if kind not in ("fgsm", "pgd"):
        raise InputError(f"ood.attacks: got {kind!r}; expected {_EXPECTED}")
    try:
        radius, *steps = Fraction(numbers[0]), *map(int, numbers[1:])
    except (IndexError, ValueError, ZeroDivisionError):
        raise InputError(f"ood.attacks: got {text!r}; expected {_EXPECTED}") from None
    if len(steps) != (kind == "pgd") or min(steps, default=1) < 1:
        raise InputError(f"ood.attacks: got {text!r}; expected {_EXPECTED}")
    if not 0 < radius <= 1:
        raise InputError(f"ood.attacks: got a radius of {numbers[0]} in {text!r}; expected {_EXPECTED}")
    return Attack(text.strip(), radius, *steps)


def make_attacker(
    apply: Callable,
    mean_std: tuple[np.ndarray, np.ndarray],
    attack: Attack,
    seed: int,
    *,
    batch_size: int = 128,
) -> Callable:
    """Return attacker(params, images, numbers) -> the images changed, computed on all local devices.

    An image's random start depends on the seed and on its number in `numbers`, [images], and not on its batch.

    Args:
      apply: (params, images [n, S, S, 3] float32 normalised) -> logits.
      mean_std: of pixels in [0, 1], per channel.
      attack: to be made.
      seed: of PGD's random starts.
      batch_size: most images that a device sees at once.
    """
    mesh = parallel.mesh()
    split, everywhere = NamedSharding(mesh, P(parallel.AXIS)), NamedSharding(mesh, P())
    radius = 255 * float(attack.radius)

    @jax.jit
    def gradient(
        params: PyTree, levels: Float[Array, "n height width 3"], labels: Int[Array, " n"]
    ) -> Float[Array, "n height width 3"]:
        with jax.default_matmul_precision("highest"):
            return jax.grad(lambda levels: total_loss(apply(params, normalise(levels, *mean_std)), labels))(levels)

    def attack_batch(
        params: PyTree, levels: Float[Array, "n height width 3"], labels: Int[Array, " n"], numbers: Int[Array, " n"]
    ) -> Float[Array, "n height width 3"]:
        of_loss = functools.partial(gradient, params, labels=labels)
        if not attack.steps:
            return fgsm(of_loss, levels, radius)
        return pgd(of_loss, levels, starts(seed, numbers, levels.shape[1:], radius), radius, attack.steps)

    def attacker(params: PyTree, images: Images, numbers: Int[np.ndarray, " images"]) -> ArrayDataset:
        params = jax.device_put(params, everywhere)
        size = batch_of_device(len(images), batch_size) * mesh.size
        parts = []
        with Progress(f"ood {attack.name}, attack", len(images), "images") as progress:
            for start in range(0, len(images), size):
                indices = np.arange(start, min(start + size, len(images)))
                # Filled up with the last image, whose result is dropped; images do not see each other.
                filled = np.minimum(np.arange(start, start + size), indices[-1])
                levels = images.images(filled).astype(np.float32)
                batch = jax.device_put((levels, images.labels[filled], numbers[filled].astype(np.int32)), split)
                parts.append(np.asarray(attack_batch(params, *batch))[: len(indices)])
                progress.update(len(indices))
                interrupt.check()
        return ArrayDataset(np.concatenate(parts), images.labels, images.classes)

    return attacker


def total_loss(logits: Float[Array, "n outputs"], labels: Int[Array, " n"]) -> Float[Array, ""]:
    """Return the sum of the cross-entropies to the labels, in nats.

    As log(1 + exp(logsumexp of the other logits - the label's logit)): its gradient stays right where the label's
    probability rounds to 1 in float32. There the usual form loses the label's own part.
    """
    logits = logits.astype(jnp.float32)
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(jnp.where(is_label, _NEVER, logits), -1)
    return jax.nn.softplus(others - jnp.where(is_label, logits, 0).sum(-1)).sum()


def fgsm(gradient: Callable, levels: Float[Array, " n *image"], radius: float) -> Float[Array, " n *image"]:
    """Return clip(x + radius * sign(gradient(x)), 0, 255), x the grey levels and the radius in [0, 255].

    Source: Goodfellow et al., ICLR 2015, section 4.
    """
    return jnp.clip(levels + radius * jnp.sign(gradient(levels)), 0, 255)


def pgd(
    gradient: Callable,
    levels: Float[Array, " n *image"],
    first: Float[Array, " n *image"],
    radius: float,
    steps: int,
) -> Float[Array, " n *image"]:
    """Take steps of 2.5 * radius / steps along the gradient's sign, each brought back into the ball and [0, 255].

    Starts at offsets `first` within the radius; levels and radius are in [0, 255]. Source: Madry et al., ICLR 2018,
    section 2.1; a step is as large as theirs for 100 of them, so that any start can reach the edge of the ball.
    """
    current = jnp.clip(levels + first, 0, 255)
    for _ in range(steps):
        current = current + 2.5 * radius / steps * jnp.sign(gradient(current))
        current = jnp.clip(jnp.clip(current, levels - radius, levels + radius), 0, 255)
    return current


def starts(seed: int, numbers: Int[Array, " n"], shape: tuple[int, ...], radius: float) -> Float[Array, " n *image"]:
    """Return uniform offsets in [-radius, radius], drawn by the seed and each image's number."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(numbers)
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-radius, maxval=radius))(keys)
