"""The removal search: how much a class's loss rises when one patch of frequencies is removed (Wang et al., ICCV 2023).

L0(c) is the mean cross-entropy of the images of class c to c, Lk(c) the same with patch k removed; patch k scores
Lk(c) - L0(c) for class c. Each class is searched on its own images alone: other classes' add nothing to its loss.
"""

import functools

import numpy as np
from jaxtyping import Float

from fsjax import dfm, interrupt, spectrum
from fsjax.engine import Engine, chunk_size
from fsjax.progress import Progress
from fsjax.search import Problem
from fsjax.search.partial import Partials


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Exact removal scores of every patch for every class, and the maps at the config's shares (METHOD 2).

    Raises:
      interrupt.Terminated: SIGTERM came; what is computed is kept and not computed again.
    """
    losses = removal_losses(problem)
    scores = np.stack([plane_scores(row[1:] - row[0], problem.plane, problem.options.patch) for row in losses])
    images = np.array(problem.counts)
    return dfm.from_scores(
        scores,
        tuple(problem.options.shares),
        classes=problem.classes,
        method="removal",
        images=images,
        forward_equivalents=int(images.sum()) * losses.shape[1],
        searched_on=problem.about["searched_on"],
        provenance={**problem.about["provenance"], "loss_before_removal": losses[:, 0].tolist()},
    )


def removal_losses(problem: Problem) -> Float[np.ndarray, "classes masks"]:
    """Mean loss of each class under each mask: nothing removed first, then each patch of `spectrum.patches`."""
    options, run = problem.options, problem.run
    partials = Partials(
        problem.directory,
        {
            "chunk": chunk_size(list(problem.counts), run.tile_images),
            "tile_images": run.tile_images,
            "masks_per_file": run.masks_per_file,
        },
        problem.params,
    )
    layout = partials.layout
    engine = Engine(problem.apply, problem.params, tile_images=layout["tile_images"])
    total = 1 + spectrum.num_patches(*problem.plane, options.patch)
    ranges = [
        (start, min(start + layout["masks_per_file"], total)) for start in range(0, total, layout["masks_per_file"])
    ]

    losses = np.full((len(problem.classes), total), np.nan)
    for label in range(len(problem.classes)):
        for start, stop in ranges:
            kept = partials.read(label, start, stop)
            if kept is not None:
                losses[label, start:stop] = kept
    missing = np.isnan(losses)
    with Progress(f"search {options.method}", losses.size, "masks", done=int((~missing).sum())) as progress:
        for label, count in enumerate(problem.counts):
            if not missing[label].any():
                continue
            images = problem.images(label)
            chunks = engine.chunks(images, np.full(count, label), size=layout["chunk"])
            for start, stop in ranges:
                if not missing[label, start]:
                    continue
                masks = _removal_masks(problem.plane, options.patch, start, stop)
                sums = engine.sums(chunks, masks, on_tile=functools.partial(_tick, progress, problem.classes[label]))
                losses[label, start:stop] = sums["loss"][:, 0] / count
                partials.write(label, start, stop, losses[label, start:stop])
            problem.metrics.write("search", label, {"masks_per_second": progress.rate, "loss": losses[label, 0]})
    return losses


def plane_scores(
    patch_scores: Float[np.ndarray, " patches"], plane: tuple[int, int], patch: int
) -> Float[np.ndarray, "height width"]:
    """The score of each position: that of its patch, or the mean over the patches that contain it."""
    total, covered = np.zeros(plane), np.zeros(plane)
    step = 256
    for start in range(0, len(patch_scores), step):
        masks = spectrum.patch_range(*plane, patch, start, start + step)
        total += np.tensordot(patch_scores[start : start + step], masks.astype(float), 1)
        covered += masks.sum(0)
    return total / covered


def _removal_masks(plane: tuple[int, int], patch: int, start: int, stop: int) -> np.ndarray:
    kept = ~spectrum.patch_range(*plane, patch, max(start - 1, 0), stop - 1)
    return np.concatenate([np.ones((1, *plane), bool), kept]) if start == 0 else kept


def _tick(progress: Progress, name: str, masks: int, _: int) -> None:
    progress.update(masks, name)
    interrupt.check()
