"""`greedy`: frequencies are dropped one after another, as long as the class stays recognised (DFM-X; METHOD 9).

The orbits are walked from low to high frequency. One is dropped for good if the class then keeps at least its current
number of correct images less a tolerance, else it is kept. What an orbit is worth thus depends on what was dropped
before it: of frequencies that stand in for each other the last one is kept, and of ones that work together all.

An order from a file, such as the published one, is a value a position: larger = earlier, 0 = removed from the start.
The published code takes 79 positions of a 32 x 32 plane (row 0, column 0 and DC's row) out without their conjugates,
which leaves half of the orbit. Here an orbit goes as a whole, in the turn of its member that comes first, and is
removed from the start only where both its members are; of equal turns the first in raster order goes first.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from fsjax.engine import tile_size
from fsjax.fourier import dfm, masks, published_maps, spectrum
from fsjax.runtime import files, storage
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search import stepwise
from fsjax.search.method import Method
from fsjax.search.problem import Problem

DEFAULTS: Table = {
    "tolerance": (0.006, "share of a class's images that dropping one orbit may cost; 6 of 1,000 as published"),
    "order": ("", "a file with the order in which orbits are dropped; '' = from low to high frequency"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """What the culling leaves of each class's plane, and of that the best within the config's shares.

    An orbit's score is the number of images that were lost without it when it was its turn, over the class's images;
    -1 where it was dropped. A map at a share holds the best of the orbits that were left; at share 1 all of them,
    which is the published map.

    Raises:
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    options, counts = problem.options, np.array(problem.counts)
    model = problem.searched_model
    tile_images = tile_size.fit(
        *(model.apply, model.params, model.image_shape),
        resident_images=max(problem.counts),
        memory_mib=problem.run.memory_mib,
        precision=model.matmul_precision,
    )
    layout = {"chunk": tile_size.chunk_size(problem.counts, tile_images)}
    order, order_file = removal_order(*problem.plane), {}
    if options.greedy.order:
        order = order_of(published_maps.read_order(options.greedy.order))
        order_file = {"path": options.greedy.order, "sha256": files.sha256(options.greedy.order)}
        # States under another order, even from a file of the same name, are of another search.
        problem = dataclasses.replace(problem, identity=f"{problem.identity} {order_file['sha256']}")
    states = stepwise.run(
        problem,
        functools.partial(_culling, problem, model.apply, order),
        directory=problem.directory,
        label=f"search {options.method}",
        layout=layout,
    )
    orbits, shares = spectrum.orbits(*problem.plane), tuple(sorted(options.shares))

    def of_class(label: int) -> tuple[Bool[np.ndarray, "shares height width"], Float[np.ndarray, "height width"]]:
        kept, lost = states[label]["kept"][orbits], states[label]["lost"][orbits]
        scores = np.where(kept, lost / counts[label], -1.0)
        return np.stack([_mask(scores, share) for share in shares]), scores

    return dfm.from_classes(
        map(of_class, range(len(counts))),
        shares,
        classes=problem.classes,
        method=options.method,
        searched_on=problem.searched_on,
        images=counts,
        forward_equivalents=int(counts.sum()) * (1 + len(order)),
        provenance={
            **problem.provenance,
            "correct_before": [int(state["before"]) for state in states],
            "correct_with_all_kept": [int(state["correct"]) for state in states],
            "positions_kept": [int(state["kept"][orbits].sum()) for state in states],
            "order": order_file,
        },
    )


def removal_order(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Numbers of the orbits from low to high frequency: squares around DC outwards, each walked by angle; DC last.

    On a plane that is not square the squares are rectangles of its shape.
    """
    vertical, horizontal = spectrum.frequencies(height, width)
    vertical, horizontal = spectrum.per_orbit(vertical), spectrum.per_orbit(horizontal)
    # Rounded, so that the sides of a square are alike, and angles are those of the member in the upper half.
    ring = np.round(np.maximum(abs(vertical), abs(horizontal)) * max(height, width), 6)
    angle = np.round(np.arctan2(vertical, horizontal) % np.pi, 6)
    order = np.lexsort((angle, ring))
    return np.append(order[ring[order] > 0], order[ring[order] == 0])


def order_of(turns: Float[np.ndarray, "height width"]) -> Int[np.ndarray, " walked"]:
    """Numbers of the orbits from the first turn to the last, without those whose members are all 0."""
    earliest = spectrum.per_orbit(np.maximum(turns, spectrum.conjugate(turns)))
    order = np.argsort(-earliest, kind="stable")
    return order[earliest[order] > 0]


def _culling(problem: Problem, apply: Callable, order: np.ndarray, layout: dict[str, int]) -> stepwise.Chains:
    """A chain a class; its first step drops nothing more and counts the images that are correct before."""
    counts, size = problem.counts, layout["chunk"]
    orbits = len(spectrum.orbit_sizes(*problem.plane))
    pieces_of_class = -(-max(counts) // size)
    spectra = jax.jit(spectrum.spectra)

    def start(label: int) -> stepwise.State:
        zero = np.zeros((), np.int32)
        return {
            "kept": np.isin(np.arange(orbits), order),
            "lost": np.zeros(orbits, np.int32),
            "correct": zero,
            "before": zero,
        }

    def about(label: int, step: int) -> dict[str, np.integer]:
        return {
            "orbit": np.int32(order[step - 1] if step else -1),
            "label": np.int32(label),
            "tolerance": np.int32(round(problem.options.greedy.tolerance * counts[label])),
        }

    def pieces(label: int, step: int) -> list[dict[str, np.ndarray]]:
        images = problem.images(label)
        # With the last image and not with zeros, on which a model may return NaN.
        padded = np.pad(images, [(0, pieces_of_class * size - len(images)), (0, 0), (0, 0), (0, 0)], mode="edge")
        real = np.arange(len(padded)) < len(images)
        return [
            {"spectra": np.asarray(spectra(padded[start : start + size])), "real": real[start : start + size]}
            for start in range(0, len(padded), size)
        ]

    def without(about: dict, state: dict) -> Bool[Array, " orbits"]:
        return state["kept"] & (jnp.arange(orbits) != about["orbit"])

    def measure(params: PyTree, about: dict, state: dict, piece: dict) -> Int[Array, ""]:
        weights = without(about, state).astype(jnp.float32)
        logits = apply(params, spectrum.filter_orbits(piece["spectra"], weights, problem.plane[1]))
        return ((logits.argmax(-1) == about["label"]) & piece["real"]).sum()

    def move(about: dict, state: dict, correct: Int[Array, ""]) -> dict:
        first, lost = about["orbit"] < 0, state["correct"] - correct
        drop = ~first & (lost <= about["tolerance"])
        return {
            "kept": jnp.where(drop, without(about, state), state["kept"]),
            "lost": state["lost"].at[about["orbit"]].set(lost),
            "correct": jnp.where(first | drop, correct, state["correct"]),
            "before": jnp.where(first, correct, state["before"]),
        }

    return stepwise.Chains(
        count=len(counts),
        steps=1 + len(order),
        start=start,
        about=about,
        pieces=pieces,
        fixed=True,
        measure=measure,
        move=move,
        images=round(sum(counts) / len(counts)),
    )


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    if not 0 <= options.greedy.tolerance < 1:
        raise InputError(f"search.greedy.tolerance: got {options.greedy.tolerance}; expected a share in [0, 1)")
    if options.greedy.order:
        height, width = published_maps.read_order(options.greedy.order).shape
        if (height, width) != plane:
            raise InputError(
                f"search.greedy.order: {options.greedy.order} is of {height} x {width}; expected of "
                f"{plane[0]} x {plane[1]}, as the images are"
            )


def _blank_where_dropped(
    scores: Float[np.ndarray, "classes height width"],
) -> Float[np.ndarray, "classes height width"]:
    return np.where(scores < 0, np.nan, scores)


def _mask(scores: Float[np.ndarray, "height width"], share: float) -> Bool[np.ndarray, "height width"]:
    """The best of the orbits that were kept."""
    return masks.within_share(scores, share) & (scores >= 0)


def _reads(options: ConfigDict) -> list[Path]:
    return [storage.path(options.greedy.order)] if options.greedy.order else []


METHOD = Method(
    search,
    DEFAULTS,
    _check,
    scored="Share of the class's images lost without a frequency, in its turn; blank where it was dropped",
    drawable=_blank_where_dropped,
    mask=_mask,
    reads=_reads,
)
