"""`learned`: masks found by gradients, each for one class and one share of the plane.

A mask has a logit z for every orbit, and starts from scores such as the class's energy. While it is learned an orbit
passes with the weight sigmoid((z - tau) / T), where tau is such that the weights make up the budget, and T falls from
step to step; in the end the orbits with the largest logits are kept. Frequencies that work only together, or that
stand in for each other, are thus weighed together, which removing one at a time cannot do.

Masks are learned in three ways in turn, for what one misses another finds. The first two are Adam on the logits, from
the scores and from zero. It scales each orbit's slope by itself, and a slope along a logit has the factor
w (1 - w) / T, which holds an orbit where it is once it is left out. The third, mirror descent from the scores, takes
from the logits the slopes along the weights, all of a mask scaled alike, so that the few orbits that tell much move far
and draw each other in.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from fsjax.fourier import dfm, masks, spectrum
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.search import gradient, stepwise
from fsjax.search.learned import initial_scores, mask_selection, soft_top_k
from fsjax.search.method import Method
from fsjax.search.problem import Problem

OBJECTIVES = ("sufficient", "specific")
BEST_OF = ("energy", "gradient")
# By how much, in nats, the loss of the gradient's mask has to be smaller. At equal losses energy leads to better masks.
_CLEARLY = 0.2
# Of Adam: how long slopes and their squares are remembered, and what its scale is never below.
_MOMENTUM, _MEMORY, _LEAST = 0.9, 0.999, 1e-8
DEFAULTS: Table = {
    "objective": (
        "sufficient",
        "sufficient: the frequencies alone are recognised as the class; specific: and other images' are not",
    ),
    "start": (
        "best",
        "scores to start from: energy, gradient (first-order removal), removal (exact; costs a removal search), zero, "
        "or best: for each class and share energy, or gradient where its mask has the clearly smaller loss",
    ),
    "steps": (110, "steps of each mask"),
    "batch": (16, "images of the class a step; objective specific takes as many of others beside them"),
    "learning_rate": (0.2, "how far logits move a step; initial scores have standard deviation 1"),
    "hottest": (1.0, "temperature of the first step; it falls by the same factor each step"),
    "coldest": (0.05, "temperature of the last step"),
    "restarts": (
        3,
        "masks learned for each class and share, of which the best is taken: by Adam from start, by Adam from zero, by "
        "mirror descent from start, and so on",
    ),
    "others": (1.0, "objective specific: weight of other classes' images; a larger one lets fewer of them in"),
    "judged": (100, "images of the class, and for objective specific of others, that decide which mask is taken"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """A map of every class at every share that suffices for the class, or is specific to it.

    The loss of the objective `sufficient` is the cross-entropy of filtered images of the class to the class; `specific`
    adds -log(1 - p) with the weight `others`, where p is what the model gives the class on filtered images of others. A
    share's map is the best, by the share of judged images that stay the class (less `others` times that of others
    called it), of the learned masks, those they may start from, and the trivial masks of that size; of equal ones the
    one with the smaller loss.

    Raises:
      InputError: a loss that is not finite, or too little memory.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    own, shares = problem.options.learned, tuple(sorted(problem.options.shares))
    if own.objective == "specific" and len(problem.classes) < 2:
        raise InputError("search.learned.objective: 'specific' needs other classes; found one; expected sufficient")
    orbits, budgets = spectrum.orbits(*problem.plane), [masks.budget(share, *problem.plane) for share in shares]
    # What is kept of a chain is known by its number, which rests on the shares.
    problem = dataclasses.replace(problem, identity=f"{problem.identity} at {budgets}")
    others = mask_selection.others(problem) if own.objective == "specific" else None
    kinds = BEST_OF if own.start == "best" else (own.start,)
    sources = {name: initial_scores.scores(problem, name, own.judged) for name in kinds}
    simple = _simple_masks(problem, budgets, {name: scores.of for name, scores in sources.items()})

    def simple_mask(label: int, share: int, index: int) -> Bool[np.ndarray, " orbits"]:
        return spectrum.per_orbit(list(simple.values())[index](label, share))

    before = mask_selection.judge(problem, (len(shares), len(simple)), simple_mask, others, "simple")
    # Of the masks to start from, which stand first, the first one unless the other is clearly better.
    begin = (before.loss[:, :, : len(sources)] + _CLEARLY * np.arange(len(sources))).argmin(-1)

    def start(label: int, share: int) -> Float[np.ndarray, " orbits"]:
        return list(sources.values())[begin[label, share]].of(label)

    room, step_images = gradient.batch_size(problem), own.batch * (1 if others is None else 2)
    piece = -(-step_images // -(-step_images // room))
    results = stepwise.run(
        problem,
        functools.partial(_learning, problem, budgets, start, others),
        layout={"piece": piece, "lanes": max(1, room // piece)},
        directory=problem.directory and problem.directory / "masks",
        label=f"search {problem.options.method}",
    )

    def learned_mask(label: int, share: int, index: int) -> Bool[np.ndarray, " orbits"]:
        packed = results[(label * len(shares) + share) * own.restarts + index]["kept"]
        return np.unpackbits(packed, count=orbits.max() + 1).astype(bool)

    after = mask_selection.judge(problem, (len(shares), own.restarts), learned_mask, others, "learned")
    right, loss = (np.concatenate(parts, -1) for parts in ((after.right, before.right), (after.loss, before.loss)))
    best = np.lexsort((loss, -right), axis=-1)[..., 0]
    names = ["learned"] * own.restarts + list(simple)

    def kept(label: int) -> Bool[np.ndarray, "shares height width"]:
        made = [
            learned_mask(label, share, index)
            if index < own.restarts
            else simple_mask(label, share, index - own.restarts)
            for share, index in enumerate(best[label].tolist())
        ]
        return np.stack(made)[:, orbits]

    images = np.array(problem.counts)
    return dfm.from_classes(
        ((kept(label), None) for label in range(len(images))),
        shares,
        classes=problem.classes,
        method=problem.options.method,
        searched_on=problem.searched_on,
        images=images,
        forward_equivalents=sum(scores.cost for scores in sources.values())
        + before.cost
        + len(results) * own.steps * step_images * gradient.PASSES
        + after.cost,
        provenance={
            **problem.provenance,
            "start": [[list(sources)[index] for index in row] for row in begin],
            "chosen": [[names[index] for index in row] for row in best],
            "judged": np.take_along_axis(right, best[..., None], -1)[..., 0].tolist(),
        },
    )


def _simple_masks(
    problem: Problem, budgets: list[int], scores: dict[str, Callable]
) -> dict[str, Callable[[int, int], Bool[np.ndarray, "height width"]]]:
    """(class, share's index) -> a mask: the best orbits by each kind of score, then the trivial ones."""
    orbits = spectrum.orbits(*problem.plane)

    def best_by(score_of: Callable, label: int, share: int) -> Bool[np.ndarray, "height width"]:
        return masks.best_orbits(score_of(label)[orbits], budgets[share])

    def random(label: int, share: int) -> Bool[np.ndarray, "height width"]:
        return masks.random(*problem.plane, budgets[share], np.random.default_rng([problem.seed, 4, label, share]))

    made: dict[str, Callable] = {name: functools.partial(best_by, score_of) for name, score_of in scores.items()}
    # What ranks by energy stands for itself.
    made.setdefault("energy", functools.partial(best_by, functools.partial(initial_scores.energy, problem)))
    made["low-pass"] = lambda label, share: masks.low_pass(*problem.plane, budgets[share])
    made["random"] = random
    return made


def _learning(
    problem: Problem,
    budgets: list[int],
    start_of: Callable,
    others: mask_selection.Others | None,
    layout: dict[str, int],
) -> stepwise.Chains:
    """A chain for each class, share and restart, in this order."""
    own, orbits, sizes = problem.options.learned, spectrum.orbits(*problem.plane), spectrum.orbit_sizes(*problem.plane)
    apply, width = problem.searched_model.apply, problem.plane[1]
    # A class's chains stand side by side and read the same images; specific needs no more than these and the others.
    images_of = functools.lru_cache(maxsize=2)(problem.images)

    def which(chain: int) -> tuple[int, int, int]:
        label, share, restart = np.unravel_index(chain, (len(problem.counts), len(budgets), own.restarts))
        return int(label), int(share), int(restart)

    def start(chain: int) -> stepwise.State:
        label, share, restart = which(chain)
        zero = np.zeros(len(sizes), np.float32)
        # Some classes are found only from a start in which every orbit has the same say, others only from the scores.
        logits = zero if restart % 3 == 1 else start_of(label, share).astype(np.float32)
        return {"logits": logits, "mean": zero, "square": zero}

    def about(chain: int, step: int) -> dict[str, np.generic]:
        label, share, restart = which(chain)
        return {
            "mirror": np.bool_(restart % 3 == 2),
            "label": np.int32(label),
            "positions": np.float32(budgets[share]),
            "temperature": np.float32(own.hottest * (own.coldest / own.hottest) ** (step / max(1, own.steps - 1))),
            "step": np.int32(step),
        }

    def pieces(chain: int, step: int) -> list[dict[str, np.ndarray]]:
        label, _, restart = which(chain)
        of_class = images_of(label)
        rows = _rows(len(of_class), own.batch, step, [problem.seed, label, restart, 1])
        images, weights = of_class[rows], np.full(own.batch, 1 / own.batch, np.float32)
        if others is not None:
            rest = np.flatnonzero(others.labels != label)
            rows = rest[_rows(len(rest), own.batch, step, [problem.seed, label, restart, 2])]
            # Their weights are negative: that tells them from the class's.
            images = np.concatenate([images, others.images[rows]])
            weights = np.concatenate([weights, np.float32(-own.others) * weights])
        padded = -len(images) % layout["piece"]
        images = np.pad(images, [(0, padded), (0, 0), (0, 0), (0, 0)], mode="edge")
        weights = np.pad(weights, (0, padded))
        return [
            {"images": images[at : at + layout["piece"]], "weights": weights[at : at + layout["piece"]]}
            for at in range(0, len(images), layout["piece"])
        ]

    def loss(weights: Array, params: PyTree, about: dict, piece: dict) -> Float[Array, ""]:
        filtered = spectrum.filter_orbits(spectrum.spectra(piece["images"]), weights, width)
        outputs = jax.nn.log_softmax(apply(params, filtered).astype(jnp.float32))
        wanted = outputs[:, about["label"]]
        if others is not None:
            is_class = jnp.arange(outputs.shape[-1]) == about["label"]
            not_class = jax.nn.logsumexp(jnp.where(is_class, -jnp.inf, outputs), axis=-1)
            wanted = jnp.where(piece["weights"] < 0, not_class, wanted)
        return -(wanted * abs(piece["weights"])).sum()

    def measure(params: PyTree, about: dict, state: dict, piece: dict) -> Float[Array, " orbits"]:
        weights = soft_top_k.soft(state["logits"], sizes, about["positions"], about["temperature"])
        slope = jax.grad(loss)(weights, params, about, piece)
        return jnp.where(about["mirror"], slope, slope * weights * (1 - weights) / about["temperature"])

    def move(about: dict, state: dict, slope: Float[Array, " orbits"]) -> dict:
        steps = about["step"] + 1.0
        mean = _MOMENTUM * state["mean"] + (1 - _MOMENTUM) * slope
        square = _MEMORY * state["square"] + (1 - _MEMORY) * jnp.square(slope)
        scale = jnp.where(about["mirror"], square.mean(), square) / (1 - _MEMORY**steps)
        direction = mean / (1 - _MOMENTUM**steps) / (jnp.sqrt(scale) + _LEAST)
        return {"logits": state["logits"] - own.learning_rate * direction, "mean": mean, "square": square}

    def result(chain: int, state: stepwise.State) -> stepwise.State:
        best = masks.best_orbits(state["logits"][orbits], budgets[which(chain)[1]])
        return {"kept": np.packbits(spectrum.per_orbit(best))}

    images = own.batch * (1 if others is None else 2) * gradient.PASSES
    return stepwise.Chains(
        count=len(problem.counts) * len(budgets) * own.restarts,
        steps=own.steps,
        start=start,
        about=about,
        pieces=pieces,
        fixed=False,
        measure=measure,
        move=move,
        result=result,
        images=images,
        lanes=layout["lanes"],
    )


def _rows(count: int, batch: int, step: int, seed: list[int]) -> Int[np.ndarray, " batch"]:
    """The images of a step: every image once, in random order, before one comes again."""
    first = step * batch
    epochs = range(first // count, (first + batch - 1) // count + 1)
    order = np.concatenate([np.random.default_rng([*seed, epoch]).permutation(count) for epoch in epochs])
    return order[first - epochs[0] * count :][:batch]


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    own = options.learned
    for name, accepted in (("objective", OBJECTIVES), ("start", ("best", *initial_scores.STARTS))):
        if own[name] not in accepted:
            raise InputError(f"search.learned.{name}: got {own[name]!r}; expected {', '.join(accepted)}")
    for name in ("steps", "batch", "restarts", "judged"):
        if own[name] < 1:
            raise InputError(f"search.learned.{name}: got {own[name]}; expected 1 or more")
    for name in ("learning_rate", "hottest", "coldest", "others"):
        if not own[name] > 0:
            raise InputError(f"search.learned.{name}: got {own[name]}; expected a number above 0")


METHOD = Method(search, DEFAULTS, _check)
