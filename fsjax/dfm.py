"""Dominant frequency maps: which frequencies each class leans on, at several shares of the plane."""

import dataclasses
import json
import pathlib

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax import masks as masks_lib
from fsjax import workdir
from fsjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class DominantFrequencyMaps:
    """Masks of every class at every share, on the centred plane, with where they come from.

    Attributes:
      masks: True where a frequency is kept, [shares, classes, H, W]. Ours are constant on orbits.
      shares: share of the plane that each mask may keep, in (0, 1], ascending.
      scores: what the masks rank, larger = more dominant, [classes, H, W]; None where a method has no ranking. For
        removal it is the rise in mean cross-entropy, in nats, when the frequency's patch is removed.
      classes: display names in index order.
      method: name of the search.
      searched_on: 'train' or 'test', the split whose images were searched.
      images: how many images of each class were searched.
      forward_equivalents: image forward passes spent; a backward pass counts 2.
      provenance: JSON values: the config fields, fingerprint, versions, loss before removal.
    """

    masks: Bool[np.ndarray, "shares classes height width"]
    shares: tuple[float, ...]
    scores: Float[np.ndarray, "classes height width"] | None
    classes: tuple[str, ...]
    method: str
    searched_on: str
    images: Int[np.ndarray, " classes"]
    forward_equivalents: int
    provenance: dict

    @property
    def positions(self) -> Int[np.ndarray, "shares classes"]:
        """Positions that each mask keeps."""
        return self.masks.sum((2, 3))

    def at(self, share: float) -> Bool[np.ndarray, "classes height width"]:
        """The masks of one of the shares."""
        if share not in self.shares:
            raise ValueError(f"share {share} is not among {self.shares}")
        return self.masks[self.shares.index(share)]

    def save(self, path: str | pathlib.Path) -> None:
        """Writes one .npz, atomically."""
        arrays = {
            "masks": np.packbits(self.masks, axis=-1),
            "shares": np.array(self.shares),
            "classes": np.array(self.classes, dtype=np.str_),
            "images": self.images,
            "plane": np.array(self.masks.shape[-2:]),
            "about": np.array(
                json.dumps(
                    {
                        "method": self.method,
                        "searched_on": self.searched_on,
                        "forward_equivalents": self.forward_equivalents,
                        "provenance": self.provenance,
                    }
                )
            ),
        }
        if self.scores is not None:
            arrays["scores"] = self.scores.astype(np.float32)
        workdir.write_npz(pathlib.Path(path), **arrays)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "DominantFrequencyMaps":
        """Reads what `save` wrote.

        Raises:
          InputError: the file is damaged or holds something else.
          FileNotFoundError: there is none.
        """
        arrays = workdir.read_npz(pathlib.Path(path))
        try:
            about = json.loads(str(arrays["about"]))
            width = int(arrays["plane"][1])
            return cls(
                masks=np.unpackbits(arrays["masks"], axis=-1, count=width).astype(bool),
                shares=tuple(float(share) for share in arrays["shares"]),
                scores=arrays.get("scores"),
                classes=tuple(str(name) for name in arrays["classes"]),
                images=arrays["images"],
                **about,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not dominant frequency maps saved by fsjax ({error!r})") from error


def from_scores(
    scores: Float[np.ndarray, "classes height width"], shares: tuple[float, ...], **about
) -> DominantFrequencyMaps:
    """Maps that keep the best orbits of each class at each share.

    Args:
      scores: constant on orbits, larger = more dominant.
      shares: in (0, 1].
      **about: the other attributes of DominantFrequencyMaps.
    """
    height, width = scores.shape[1:]
    shares = tuple(sorted(shares))
    kept = np.stack(
        [[masks_lib.best_orbits(plane, masks_lib.budget(share, height, width)) for plane in scores] for share in shares]
    )
    return DominantFrequencyMaps(masks=kept, shares=shares, scores=scores.astype(np.float32), **about)
