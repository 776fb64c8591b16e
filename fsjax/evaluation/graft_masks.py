"""The masks that a class's grafts are measured under: its maps at every share, and control masks of their size."""

import numpy as np
from jaxtyping import Bool, Float

from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator

# Kinds of masks with a psi at every share.
KINDS = ("map", "low_pass", "energy", "radial")
# Draws of each random control at the share that a verdict rests on.
RADIAL, EQUAL_CHANGE = 3, 2


class GraftMasks:
    """The masks of one class.

    Args:
      maps: of the class, at each share; need not be constant on orbits.
      seed: of the random controls.
      label: of the class.
      class_energy: mean |F x|^2 of images of the class.
      others_energy: the same of other images.
      differences: mean |F (d - r)|^2 of the pairs.
    """

    def __init__(
        self,
        maps: Bool[np.ndarray, "shares height width"],
        seed: int,
        label: int,
        class_energy: Float[np.ndarray, "height width"],
        others_energy: Float[np.ndarray, "height width"],
        differences: Float[np.ndarray, "height width"],
    ):
        self.maps, self._seed, self._label, self._energy = maps, seed, label, class_energy
        self._others_energy = others_energy
        self._plane: tuple[int, int] = (maps.shape[1], maps.shape[2])
        self._differences = np.where(spectrum.radius(*self._plane) > 0, differences, 0)

    def of_kind(self, kind: str) -> Bool[np.ndarray, "shares height width"]:
        """Return the masks of one of KINDS at every share.

        The map itself; `low_pass`, as many of the lowest frequencies; `energy`, as many in which the class's images
        have most energy; `radial`, the map's nearest neighbours in radius, drawn at random outside it.
        """
        make = {
            "map": lambda share: self.maps[share],
            "low_pass": lambda share: masks.low_pass(*self._plane, int(self.maps[share].sum())),
            "energy": lambda share: masks.best_orbits(self._energy, int(self.maps[share].sum())),
            "radial": lambda share: self._radial(share, 0),
        }[kind]
        return np.stack([make(share) for share in range(len(self.maps))])

    def controls(self, share: int) -> dict[str, Bool[np.ndarray, "masks height width"]]:
        """Return the controls of the map at a share, by its index, that a verdict takes; lists may be empty.

        `radial` as above, RADIAL draws; `equal_change`, orbits drawn outside the map until they hold as much of what
        tells the pairs apart, EQUAL_CHANGE draws; `no_dc`, the map without DC, where it holds DC.
        """
        mask, (row, column) = self.maps[share], (side // 2 for side in self._plane)
        without_dc = mask.copy()
        without_dc[row, column] = False
        held = float(self._differences[mask].sum())
        found = {
            "radial": [self._radial(share, draw) for draw in range(RADIAL)],
            "equal_change": [
                masks.outside(self._hermitian(share), self._differences, held, self._rng(share, RADIAL + draw))
                for draw in range(EQUAL_CHANGE)
            ],
            "no_dc": [without_dc] if mask[row, column] else [],
        }
        return {kind: np.array(of, bool).reshape(-1, *self._plane) for kind, of in found.items()}

    def share_of_difference(self, share: int) -> float:
        """Return e, how much of what tells the pairs apart lies in the map at a share, DC left out, in [0, 1]."""
        total = self._differences.sum()
        return float(self._differences[self.maps[share]].sum() / total) if total else 0.0

    def energy_ratios(self, share: int) -> tuple[float, float]:
        """Return the energy of the class over that of others at a position of the map: geometric mean and largest.

        DC is left out. NaN where the map holds nothing else, and where either side has no energy at one of them.
        """
        mask = self.maps[share] & (spectrum.radius(*self._plane) > 0)
        own, theirs = (energy[mask].astype(float) for energy in (self._energy, self._others_energy))
        if not mask.any() or not own.all() or not theirs.all():
            return np.nan, np.nan
        logs = np.log(own / theirs)
        return float(np.exp(logs.mean())), float(np.exp(logs.max()))

    def prominence(self, share: int) -> float:
        """Return how much of the difference a position of the map holds, over one of its radial controls, DC left out.

        NaN where either holds nothing.
        """
        beside = self.controls(share)["radial"]
        own, others = self._differences[self.maps[share]], self._differences[None].repeat(RADIAL, 0)[beside]
        return float(own.mean() / others.mean()) if own.sum() and others.sum() else np.nan

    def _radial(self, share: int, draw: int) -> Bool[np.ndarray, "height width"]:
        return masks.radial_neighbours(self._hermitian(share), self._rng(share, draw))

    def _hermitian(self, share: int) -> Bool[np.ndarray, "height width"]:
        return self.maps[share] | spectrum.conjugate(self.maps[share])

    def _rng(self, share: int, draw: int) -> np.random.Generator:
        return generator(self._seed, Stream.GRAFT_CONTROLS, self._label, int(self.maps[share].sum()), draw)
