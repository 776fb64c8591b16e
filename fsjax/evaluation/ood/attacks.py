"""FGSM and PGD under L-infinity: images changed by at most a radius so that their own class's loss rises.

A radius is in units of pixels in [0, 1]. Images have grey levels in [0, 255], where 4/255 is exactly 4. The loss is the
cross-entropy of the model's logits to the true class.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.data.normalisation import normalise
from fsjax.evaluation.predict import batch_of_device
from fsjax.fourier.spectrum import Images
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress
from fsjax.search.graft import log_odds


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack under L-infinity; 0 steps = FGSM."""

    name: str
    radius: Fraction
    steps: int = 0


def parse(text: str) -> Attack:
    """Read 'fgsm:4/255' or 'pgd:4/255:10'; raises InputError for an unknown attack and a radius outside (0, 1]."""
    kind, *numbers = (part.strip() for part in text.split(":"))
    try:
        radius, *steps = Fraction(numbers[0]), *map(int, numbers[1:])
    except (IndexError, ValueError, ZeroDivisionError):
        kind, radius, steps = "", Fraction(0), []
    count = {"fgsm": 0, "pgd": 1}.get(kind)
    if not 0 < radius <= 1 or len(steps) != count or min(steps, default=1) < 1:
        expected = "fgsm:RADIUS or pgd:RADIUS:STEPS with a radius in (0, 1], such as fgsm:4/255 or pgd:0.03:10"
        raise InputError(f"ood.attacks: got {text!r}; expected {expected}")
    return Attack(text.strip(), radius, *steps)


def make_attacker(
    apply: Callable, mean_std: tuple[np.ndarray, np.ndarray], attack: Attack, seed: int, *, batch_size: int = 128
) -> Callable:
    """Return attacker(params, images, numbers) -> attacked images, computed on all local devices.

    `apply` maps params and normalised images, [n, S, S, 3], to logits. A device takes `batch_size` images at most.
    Each step follows the sign of the loss's gradient and is clipped to the ball and to [0, 255]. FGSM takes a step of
    the whole radius from the image (Goodfellow et al., ICLR 2015, section 4). PGD takes steps of 2.5 * radius / steps
    from a random start (Madry et al., ICLR 2018, section 2.1); so any start can reach the edge of the ball. An image's
    start depends on the seed and its number in `numbers`, [images], and not on its batch.
    """
    mesh = parallel.mesh()
    split, everywhere = parallel.layouts(mesh)
    radius = 255 * float(attack.radius)

    @jax.jit
    def gradient(params: PyTree, levels: Images, labels: Int[Array, " n"]) -> Images:
        def total_loss(levels: Images) -> Float[Array, ""]:
            # The cross-entropy in a form whose gradient stays right where the label's probability rounds to 1.
            return jax.nn.softplus(-log_odds(apply(params, normalise(levels, *mean_std)), labels)).sum()

        with jax.default_matmul_precision("highest"):
            return jax.grad(total_loss)(levels)

    def attacker(params: PyTree, images: Dataset, numbers: Int[np.ndarray, " images"]) -> ArrayDataset:
        params = jax.device_put(params, everywhere)
        size = batch_of_device(len(images), batch_size) * mesh.size
        parts = []
        with Progress(f"ood {attack.name}, attack", len(images), "images") as progress:
            for start in range(0, len(images), size):
                indices = np.arange(start, min(start + size, len(images)))
                # The last batch is padded with its last image; images do not affect each other.
                filled = np.minimum(np.arange(start, start + size), indices[-1])
                batch = images.images(filled).astype(np.float32), images.labels[filled], numbers[filled].astype(int)
                levels, labels, batch_numbers = jax.device_put(batch, split)
                attacked, step, steps = levels, radius, 1
                if attack.steps:
                    offsets = starts(seed, batch_numbers, levels.shape[1:], radius)
                    attacked = jnp.clip(levels + offsets, 0, 255)
                    step, steps = 2.5 * radius / attack.steps, attack.steps
                for _ in range(steps):
                    attacked = attacked + step * jnp.sign(gradient(params, attacked, labels))
                    attacked = jnp.clip(jnp.clip(attacked, levels - radius, levels + radius), 0, 255)
                parts.append(np.asarray(attacked)[: len(indices)])
                progress.update(len(indices))
                interrupt.check()
        return ArrayDataset(np.concatenate(parts), images.labels, images.classes)

    return attacker


def starts(seed: int, numbers: Int[Array, " n"], shape: tuple[int, ...], radius: float) -> Float[Array, " n *image"]:
    """Return uniform offsets in [-radius, radius], drawn by the seed and each image's number."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(numbers)
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-radius, maxval=radius))(keys)
