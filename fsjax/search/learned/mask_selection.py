"""Masks of one size judged on images: how many stay the class, and how many of others are drawn to it."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, PyTree

from fsjax.engine import tile_size
from fsjax.fourier import spectrum
from fsjax.search import stepwise
from fsjax.search.problem import Problem

# Images of other classes that all classes are held against, as even a draw from all classes as can be.
_OTHERS = 512


@dataclasses.dataclass(frozen=True)
class Others:
    """Images of all classes, of which those of other classes than the one in question count.

    Attributes:
      images: [n, H, W, C], normalised.
      labels: class of each.
    """

    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is found of each candidate, for each class and share.

    Attributes:
      right: share of the judged images that it keeps in the class, less that of others that it draws there, by weight.
      loss: mean cross-entropy to the class of the judged images, in nats, less that of the others, by weight.
      cost: forward passes spent.
    """

    right: Float32[np.ndarray, "classes shares candidates"]
    loss: Float32[np.ndarray, "classes shares candidates"]
    cost: int


def others(problem: Problem) -> Others:
    """A pool of images, drawn by seed; of a thousand classes some have no image in it."""
    rng = np.random.default_rng([problem.seed, 3])
    each = max(2, -(-_OTHERS // len(problem.counts)))
    labels = np.arange(len(problem.counts))
    if each * len(labels) > 2 * _OTHERS:
        labels = np.sort(rng.choice(labels, _OTHERS // each, replace=False))
    images, of = [], []
    for label in labels.tolist():
        of_class = problem.images(label)
        rows = np.sort(rng.choice(len(of_class), min(each, len(of_class)), replace=False))
        images.append(of_class[rows])
        of += [label] * len(rows)
    return Others(np.concatenate(images), np.array(of))


def judge(
    problem: Problem,
    shape: tuple[int, int],
    candidate: Callable[[int, int, int], Bool[np.ndarray, " orbits"]],
    pool: Others | None,
    name: str,
) -> Judged:
    """Each class's candidates at each share.

    Args:
      problem: `judged` of its options says how many images of each side are judged, `others` what the others weigh.
      shape: how many shares and candidates there are.
      candidate: (class, share's index, candidate's index) -> orbits that are kept.
      pool: others, for masks that are to draw none of them; None = only the class's own images count.
      name: of the folder, in the problem's, where results are kept.
    """
    judged = stepwise.run(
        problem,
        functools.partial(_judging, problem, shape, candidate, pool),
        layout=_layout(problem, pool),
        directory=problem.directory and problem.directory / name,
        label=f"judge {name}",
    )
    most = problem.options.learned.judged
    images = sum(min(most, count) for count in problem.counts)
    if pool is not None:
        images += sum(min(most, int((pool.labels != label).sum())) for label in range(len(problem.counts)))
    return Judged(
        right=np.stack([state["right"] for state in judged]),
        loss=np.stack([state["loss"] for state in judged]),
        cost=images * shape[0] * shape[1],
    )


def _judging(
    problem: Problem, shape: tuple[int, int], candidate: Callable, pool: Others | None, layout: dict[str, int]
) -> stepwise.Chains:
    """A chain a class, a step a candidate."""
    apply, width = problem.searched_model.apply, problem.plane[1]
    spectra = jax.jit(spectrum.spectra)

    def about(label: int, step: int) -> dict[str, np.ndarray]:
        share, index = np.unravel_index(step, shape)
        kept = candidate(label, int(share), int(index))
        return {"kept": kept.astype(np.float32), "label": np.int32(label), "at": np.array([share, index], np.int32)}

    def pieces(label: int, step: int) -> list[dict[str, np.ndarray]]:
        images, weights = _judged(problem, label, pool)
        padded = layout["piece"] * layout["pieces"] - len(images)
        images = np.pad(images, [(0, padded), (0, 0), (0, 0), (0, 0)], mode="edge")
        weights = np.pad(weights, (0, padded))
        cuts = range(0, len(images), layout["piece"])
        return [
            {
                "spectra": np.asarray(spectra(images[at : at + layout["piece"]])),
                "weights": weights[at:][: layout["piece"]],
            }
            for at in cuts
        ]

    def measure(params: PyTree, about: dict, state: dict, piece: dict) -> dict[str, Array]:
        logits = apply(params, spectrum.filter_orbits(piece["spectra"], about["kept"], width)).astype(jnp.float32)
        loss = jax.nn.logsumexp(logits, axis=-1) - logits[:, about["label"]]
        # Of others the model is to give the class little: the smaller their loss, the worse.
        return {
            "right": ((logits.argmax(-1) == about["label"]) * piece["weights"]).sum(),
            "loss": (loss * piece["weights"]).sum(),
        }

    def move(about: dict, state: dict, measured: dict) -> dict:
        share, index = about["at"]
        return {name: state[name].at[share, index].set(measured[name]) for name in state}

    return stepwise.Chains(
        count=len(problem.counts),
        steps=shape[0] * shape[1],
        start=lambda label: {name: np.zeros(shape, np.float32) for name in ("right", "loss")},
        about=about,
        pieces=pieces,
        fixed=True,
        measure=measure,
        move=move,
        images=layout["piece"] * layout["pieces"],
    )


def _judged(problem: Problem, label: int, pool: Others | None) -> tuple[np.ndarray, np.ndarray]:
    """The images that a class's masks are judged on, and their weights: those of others have negative ones."""
    own, rng = problem.options.learned, np.random.default_rng([problem.seed, 5, label])
    most = own.judged
    images = problem.images(label)
    images = images[np.sort(rng.choice(len(images), min(most, len(images)), replace=False))]
    weights = np.full(len(images), 1 / len(images), np.float32)
    if pool is None:
        return images, weights
    rest = np.flatnonzero(pool.labels != label)
    rest = np.sort(rng.choice(rest, min(most, len(rest)), replace=False))
    of_rest = np.full(len(rest), -own.others / len(rest), np.float32)
    return np.concatenate([images, pool.images[rest]]), np.append(weights, of_rest)


def _layout(problem: Problem, pool: Others | None) -> dict[str, int]:
    most = min(problem.options.learned.judged, max(problem.counts))
    most += min(problem.options.learned.judged, len(pool.labels)) if pool else 0
    model = problem.searched_model
    tile_images = tile_size.fit(
        *(model.apply, model.params, model.image_shape),
        resident_images=most,
        memory_mib=problem.run.memory_mib,
        precision=model.matmul_precision,
    )
    piece = min(most, tile_images)
    return {"piece": piece, "pieces": -(-most // piece)}
