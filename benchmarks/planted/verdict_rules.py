"""The rules that the verdict benchmark scores beside fsjax's own: what other programs would say of the same maps.

published  TPR of the class's images filtered by its map above .6 (Wang et al., ICCV 2023)
margin     the same, and better than 95 % of random masks of its size and than the better of low-pass and most energy,
           with 95 % confidence over paired images: fsjax's rule until it had grafts
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.fourier import masks, spectrum

THRESHOLD = 0.6
_RANDOM = 20


def other_rules(
    model: Model,
    maps: Bool[np.ndarray, "classes height width"],
    images: Float[np.ndarray, "images height width channels"],
    labels: Int[np.ndarray, " images"],
    seed: int,
) -> list[dict]:
    """Return for each class whether it is a shortcut by either rule, and TPR and FPR under its map."""
    classes, plane = len(maps), maps.shape[1:]
    engine = Engine(model, statistics=("predicted_target",), tile_images=256)
    rng = np.random.default_rng([seed, 9])
    rows = []
    for label in range(classes):
        own = images[labels == label]
        positions = int(maps[label].sum())
        energy = spectrum.energy(own)
        controls = [masks.low_pass(*plane, positions), masks.best_orbits(energy, positions)]
        controls += [masks.random(*plane, positions, rng) for _ in range(_RANDOM)]
        batches = engine.image_batches(own, np.full(len(own), label), np.eye(len(own), dtype=np.float32))
        all_masks = np.stack([maps[label], *controls])
        called = engine.sums(batches, all_masks, targets=np.full(len(all_masks), label))["predicted_target"] > 0.5
        tpr = called.mean(1)
        difference = called[0].astype(float) - called[1 + int(tpr[2] > tpr[1])]
        lower = difference.mean() - 1.96 * difference.std() / np.sqrt(len(own))
        beats_random = (1 + (tpr[3:] >= tpr[0]).sum()) / (1 + _RANDOM) <= 0.05
        others = images[labels != label]
        batches = engine.image_batches(others, np.zeros(len(others), int), size=len(own))
        fpr = engine.sums(batches, maps[label][None], targets=np.array([label]))["predicted_target"][0, 0] / len(others)
        rows.append(
            {
                "map_tpr": round(float(tpr[0]), 4),
                "map_fpr": round(float(fpr), 4),
                "published": bool(tpr[0] > THRESHOLD),
                "margin": bool(tpr[0] >= THRESHOLD and beats_random and lower > 0),
            }
        )
    return rows
