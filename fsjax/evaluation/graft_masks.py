"""The masks that a class's grafts are measured under: its maps at every share, and control masks of their size."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator

# Kinds of masks with a psi at every share.
KINDS = ("map", "low_pass", "energy", "radial")
# Further draws of the radial control, and draws of the control of equal change, where a verdict is given.
RADIAL, EQUAL_CHANGE = 4, 2


class GraftMasks:
    """Masks of one class, in rows: the empty mask first, then those of each kind and share.

    Kinds beside the map: `low_pass`, the lowest frequencies; `energy`, those in which the class's images have most
    energy; `radial`, the map's nearest neighbours in radius, drawn at random outside it; `equal_change`, orbits drawn
    outside the map until they hold as much of what tells the pairs apart; `no_dc`, the map without DC.

    Args:
      maps: of the class, at each share.
      tested: for each share whether a verdict may rest on it, which takes more controls.
      seed: of the random controls.
      label: of the class.
      class_energy: mean |F x|^2 of images of the class.
      differences: mean |F (d - r)|^2 of the pairs.
    """

    def __init__(
        self,
        maps: Bool[np.ndarray, "shares height width"],
        tested: Sequence[bool],
        seed: int,
        label: int,
        class_energy: Float[np.ndarray, "height width"],
        differences: Float[np.ndarray, "height width"],
    ):
        height, width = maps.shape[1:]
        self._differences = np.where(spectrum.radius(height, width) > 0, differences, 0)
        rows: list[np.ndarray] = [np.zeros((height, width), bool)]
        self._rows: dict[tuple[str, int], list[int]] = {}

        def add(kind: str, share: int, mask: Bool[np.ndarray, "height width"]) -> None:
            self._rows.setdefault((kind, share), []).append(len(rows))
            rows.append(mask)

        for share, (mask, with_verdict) in enumerate(zip(maps, tested, strict=True)):
            positions = int(mask.sum())
            rng = generator(seed, Stream.GRAFT_CONTROLS, label, positions)
            hermitian = mask | spectrum.conjugate(mask)
            add("map", share, mask)
            add("low_pass", share, masks.low_pass(height, width, positions))
            add("energy", share, masks.best_orbits(class_energy, positions))
            for _ in range(RADIAL if with_verdict else 1):
                add("radial", share, masks.radial_neighbours(hermitian, rng))
            if with_verdict:
                for _ in range(EQUAL_CHANGE):
                    held = float(self._differences[mask].sum())
                    add("equal_change", share, masks.outside(hermitian, differences, held, rng))
                if mask[height // 2, width // 2]:
                    without_dc = mask.copy()
                    without_dc[height // 2, width // 2] = False
                    add("no_dc", share, without_dc)
        self.masks: Bool[np.ndarray, "rows height width"] = np.stack(rows)

    @staticmethod
    def most(tested: Sequence[bool]) -> int:
        """Return how many rows there are at most."""
        return 1 + 4 * len(tested) + (RADIAL - 1 + EQUAL_CHANGE + 1) * sum(tested)

    def rows(self, kind: str, share: int) -> list[int]:
        """Return the rows of a kind at a share, by its index; none where it was not added."""
        return self._rows.get((kind, share), [])

    def share_of_difference(self, row: int) -> float:
        """Return e, how much of what tells the pairs apart lies in a mask, DC left out, in [0, 1]."""
        total = self._differences.sum()
        return float(self._differences[self.masks[row]].sum() / total) if total else 0.0
