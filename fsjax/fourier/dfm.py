"""Dominant frequency maps: which frequencies each class relies on, at several shares of the plane, and their files."""

import dataclasses
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import masks as masks_lib
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Key of the provenance: side of the patches that masks are unions of. Maps without it are cut orbit by orbit.
WHOLE_PATCHES = "whole_patches"
# Key of the provenance of maps from `removal` with compat, whose masks are cut by the published threshold.
COMPAT = "compat"

# Attributes that a file holds as JSON, and their types.
_ABOUT = {"method": str, "searched_on": str, "forward_equivalents": int, "provenance": dict}
_METHOD = re.compile(r"\w{1,40}")


@dataclasses.dataclass(frozen=True, repr=False)
class DominantFrequencyMaps:
    """Masks of every class at every share, on the centred plane, with their provenance.

    Attributes:
      masks: True where a frequency is kept, [shares, classes, H, W]. Masks made by fsjax are constant on orbits.
      shares: share of the plane that each mask may keep, in (0, 1], ascending.
      scores: larger = more dominant, [classes, H, W]; None where a method has no ranking. For removal: the rise in mean
        cross-entropy, in nats, when the frequency's patch is removed.
      classes: display names in index order.
      method: name of the search.
      searched_on: 'train' or 'test', the split whose images were searched.
      images: number of searched images of each class; 0 = unknown.
      forward_equivalents: image forward passes spent; a backward pass counts 2.
      provenance: JSON values such as config fields, fingerprint and versions.
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
        """Number of positions that each mask keeps."""
        return self.masks.sum((2, 3))

    @property
    def kept(self) -> Float[np.ndarray, "shares classes"]:
        """Share of the plane that each mask keeps, in [0, 1]; in published maps it differs between classes."""
        return self.positions / math.prod(self.masks.shape[2:])

    def at(self, share: float) -> Bool[np.ndarray, "classes height width"]:
        """Return the masks at one of the shares."""
        if share not in self.shares:
            raise ValueError(f"share: got {share}; expected one of {self.shares}")
        return self.masks[self.shares.index(share)]

    @property
    def named(self) -> bool:
        """Whether the classes have names other than their indices."""
        return self.classes != tuple(str(label) for label in range(len(self.classes)))

    def __repr__(self) -> str:
        shares, plane = ", ".join(f"{share:g}" for share in self.shares), " x ".join(map(str, self.masks.shape[2:]))
        return f"<fsjax maps of {self.method}, {len(self.classes)} classes at {plane}, shares {shares}>"

    def nearest(self, share: float) -> float:
        """Return the nearest share, and the smaller of two at the same distance."""
        return min(self.shares, key=lambda candidate: (abs(candidate - share), candidate))

    def save(self, path: str | Path) -> None:
        """Write an .npz atomically."""
        about = {name: getattr(self, name) for name in _ABOUT}
        scores = {} if self.scores is None else {"scores": np.asarray(self.scores, np.float32)}
        files.write_npz(
            storage.path(path),
            masks=np.packbits(self.masks, axis=-1),
            plane=np.array(self.masks.shape[-2:]),
            shares=np.array(self.shares),
            classes=np.array(self.classes, dtype=np.str_),
            images=self.images,
            about=np.array(json.dumps(about)),
            **scores,
        )

    @classmethod
    def load(cls, path: str | Path) -> "DominantFrequencyMaps":
        """Load maps that `save` wrote; raise InputError for a file that is damaged or holds something else."""
        arrays = files.read_npz(storage.path(path))
        try:
            about, (height, width) = json.loads(str(arrays.pop("about"))), arrays.pop("plane").tolist()
            shares, classes = len(arrays["shares"]), len(arrays["classes"])
            forms = {
                "masks": ("u", (shares, classes, height, -(-width // 8))),
                "shares": ("f", (shares,)),
                "classes": ("U", (classes,)),
                "images": ("iu", (classes,)),
                "scores": ("f", (classes, height, width)),
            }
            for name, array in arrays.items():
                kinds, shape = forms[name]
                if array.dtype.kind not in kinds or array.shape != shape:
                    raise ValueError(f"{name} of {array.dtype} {list(array.shape)}")
            if not 0 < arrays["shares"].min() <= arrays["shares"].max() <= 1:
                raise ValueError("shares outside (0, 1]")
            # The method is part of file names.
            if any(type(about[name]) is not kind for name, kind in _ABOUT.items()) or not _METHOD.fullmatch(
                about["method"]
            ):
                raise ValueError(f"about {reprlib.repr(about)}")
            return cls(
                masks=np.unpackbits(arrays["masks"], axis=-1, count=width).view(bool),
                shares=tuple(arrays["shares"].tolist()),
                scores=arrays.get("scores"),
                classes=tuple(arrays["classes"].tolist()),
                images=arrays["images"],
                **about,
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: not dominant frequency maps saved by fsjax ({error!r})") from error


def file_in(workdir: Path, method: str) -> Path:
    """Return the file of a workdir that holds the maps of a search method."""
    return workdir / "dfm" / f"{method}.npz"


def files_in(workdir: Path) -> list[Path]:
    """Return the files of maps in a workdir, one per method, sorted by name."""
    return sorted((workdir / "dfm").glob("*.npz"), key=lambda file: file.stem)


def from_scores(
    scores: Iterable[Float[np.ndarray, "height width"]],
    shares: tuple[float, ...],
    *,
    mask: Callable[[np.ndarray, float], np.ndarray] = masks_lib.within_share,
    **attributes: Any,
) -> DominantFrequencyMaps:
    """Return maps that keep the best orbits of each class at each share.

    scores: of each class, constant on orbits, larger = more dominant. mask: (scores of a class, share) -> its mask.
    attributes: the other attributes of DominantFrequencyMaps.
    """
    shares = tuple(sorted(shares))
    # Rounded as in the file, so that masks made from its scores at other shares are nested with these.
    planes = (plane.astype(np.float32) for plane in scores)
    pairs = ((np.stack([mask(plane, share) for share in shares]), plane) for plane in planes)
    return from_classes(pairs, shares, **attributes)


def from_classes(
    classes_in_order: Iterable[
        tuple[Bool[np.ndarray, "shares height width"], Float[np.ndarray, "height width"] | None]
    ],
    shares: tuple[float, ...],
    **attributes: Any,
) -> DominantFrequencyMaps:
    """Return maps assembled from the masks, and scores or None, of each class; shares are ascending."""
    count, scores = len(attributes["classes"]), None
    all_masks: Any = None
    for label, (masks, plane) in enumerate(classes_in_order):
        if all_masks is None:  # not stacked, which would take the memory twice
            all_masks = np.empty((len(shares), count, *masks.shape[1:]), bool)
            scores = None if plane is None else np.empty((count, *plane.shape), np.float32)
        all_masks[:, label] = masks
        if scores is not None and plane is not None:
            scores[label] = plane
    return DominantFrequencyMaps(masks=all_masks, shares=shares, scores=scores, **attributes)
