"""The adaptive search: removal's top frequencies from a part of its forward passes.

A patch starts with a few images of the class. It gets more only while the confidence bounds of its score leave it on
either side of a share's boundary, in the end all of them, which makes its score exact. First-order scores of every
image, from one backward pass each, say which images are important and which patches need not start, and serve as a
control variate where they predict the rises. A random sample of patches is always evaluated on all images: it measures
the estimates' errors for the report, and a class whose estimates it contradicts is evaluated exactly.
"""

import numpy as np
from ml_collections import ConfigDict

from fsjax.fourier import dfm, patches
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress
from fsjax.search import patch_maps, precision_check
from fsjax.search.adaptive.class_search import ClassSearcher, exact_passes
from fsjax.search.method import Method
from fsjax.search.problem import Problem
from fsjax.search.removal import removal_masks


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return removal scores, exact where a share's boundary needs them and else estimated, and the maps.

    The provenance has under "adaptive" the cost, the number of sampled patches and each class's `ClassResult.report`.

    Raises:
      InputError: kept losses of another search, too little memory, or a loss or gradient that is not finite.
      interrupt.Terminated: SIGTERM came; computed losses are kept and not computed again.
    """
    options, labels = problem.options, range(len(problem.classes))
    masks = removal_masks(problem.plane, options.patch)
    total = sum(exact_passes(problem, masks, label) for label in labels)
    with Progress(f"search {options.method}", total, "images") as progress:
        searcher = ClassSearcher(problem, masks, progress)
        results = [searcher.search(label) for label in labels]
    sums = np.stack([result.sums for result in results])
    precision_report = precision_check.measure(problem, masks[np.concatenate([[0], 1 + searcher.sample])], sums)
    passes = sum(result.report["forward_passes"] for result in results)
    return patch_maps.cut(
        problem,
        (patches.position_scores(result.rises, *problem.plane, options.patch) for result in results),
        passes + sum(problem.counts) * precision_report.get("masks", 0),
        loss_before_removal=(sums[:, 0] / np.array(problem.counts)).tolist(),
        agreement=precision_report,
        adaptive={
            "share_of_exact": passes / (sum(problem.counts) * masks.count),
            "sampled": len(searcher.sample),
            "classes": [result.report for result in results],
        },
    )


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raise InputError for an invalid field of config.search.adaptive."""
    own = options.adaptive
    if not 0 < own.confidence < np.inf:
        raise InputError(f"search.adaptive.confidence: got {own.confidence}; expected more than 0")
    for name, least in (("first_images", 8), ("exact_sample", 2)):
        if own[name] < least:
            raise InputError(f"search.adaptive.{name}: got {own[name]}; expected {least} or more")


# Chosen on the losses of a ResNet-20 on 1,000 images each of two CIFAR-10 classes (mean loss 0.95 and 0.29), all 514
# orbits known. Searches for the best 5 % in 100 random orders of the images found the exact set 99 and 100 times, at 22
# and 16 % of the cost; with a confidence of 1.75 one order in twelve missed an orbit of the first class.
METHOD = Method(
    search,
    defaults={
        "confidence": (2.0, "half the width of a score's bounds, in standard errors"),
        "first_images": (64, "for a patch that begins; at most a third of the class, or 16; 32 where all begin"),
        "exact_sample": (16, "patches drawn at random that are evaluated on all images"),
        "gradient": (True, "choose images and patches, and narrow the bounds, by first-order scores"),
    },
    check=check,
    patches=True,
    whole_patches=True,
)
