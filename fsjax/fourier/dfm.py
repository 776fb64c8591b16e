"""Dominant frequency maps: which frequencies each class leans on, at several shares of the plane."""

import dataclasses
import json
import math
import os
import pathlib
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import masks as masks_lib
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Bytes of an array beyond which it is put together in a mapped file, and beyond which it is saved beside the .npz:
# scores of 1,000 classes at 224 pixels are 200 MB, which compress well and are mostly read as a whole.
IN_MEMORY, IN_ONE_FILE = 2**24, 2**28


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
      images: how many images of each class were searched; 0 where that is not known.
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

    @property
    def named(self) -> bool:
        """Whether the classes have names, and not just the numbers that stand where none were given."""
        return self.classes != tuple(str(label) for label in range(len(self.classes)))

    def nearest(self, share: float) -> float:
        """The one of the shares that is nearest to a share; of two as near the smaller."""
        return min(self.shares, key=lambda own: (abs(own - share), own))

    def save(self, path: str | Path) -> None:
        """Writes an .npz, atomically; arrays beyond IN_ONE_FILE bytes lie beside it, each an .npy that it names."""
        path = storage.path(path)
        arrays = {
            "shares": np.array(self.shares),
            "classes": np.array(self.classes, dtype=np.str_),
            "images": self.images,
            "plane": np.array(self.masks.shape[-2:]),
        }
        about = {
            "method": self.method,
            "searched_on": self.searched_on,
            "forward_equivalents": self.forward_equivalents,
            "provenance": self.provenance,
        }
        beside = {}
        for name, array in (("masks", self.masks), ("scores", self.scores)):
            if array is not None and array.nbytes > IN_ONE_FILE:
                # Under a name of its own: until the .npz is there, what was saved before stays whole.
                beside[name] = f"{path.stem}.{uuid.uuid4().hex[:12]}.{name}.npy"
                files.write_npy(path.with_name(beside[name]), array)
            elif array is not None:
                arrays[name] = np.packbits(array, axis=-1) if name == "masks" else np.asarray(array, np.float32)
        files.write_npz(path, **arrays, about=np.array(json.dumps({**about, "beside": beside})))
        others: list[Path] = [*path.parent.glob(f"{path.stem}.*.npy")]
        for file in others:
            if file.name not in beside.values():
                file.unlink()

    @classmethod
    def load(cls, path: str | Path) -> "DominantFrequencyMaps":
        """Reads what `save` wrote; arrays beside the file are mapped and not read.

        Raises:
          InputError: the file is damaged or holds something else.
          FileNotFoundError: there is none.
        """
        path = storage.path(path)
        arrays = files.read_npz(path)
        try:
            about = json.loads(str(arrays["about"]))
            if "masks" in arrays:
                width = int(arrays["plane"][1])
                if -(-width // 8) != arrays["masks"].shape[-1]:
                    raise ValueError(f"a plane {width} wide in {arrays['masks'].shape[-1]} bytes a row")
                arrays["masks"] = np.unpackbits(arrays["masks"], axis=-1, count=width).view(bool)
            for name, file in about.pop("beside", {}).items():
                if pathlib.PureWindowsPath(file).name != file:
                    raise ValueError(f"{file!r} is not the name of a file beside it")
                arrays[name] = files.map_npy(path.with_name(file))
            _check(arrays, about)
            return cls(
                masks=arrays["masks"],
                shares=tuple(float(share) for share in arrays["shares"]),
                scores=arrays.get("scores"),
                classes=tuple(str(name) for name in arrays["classes"]),
                images=arrays["images"],
                **about,
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: not dominant frequency maps saved by fsjax ({error!r})") from error


def told(file: str | Path, read: Callable[[], Any]) -> Any:
    """What `read` takes from the provenance of a file's maps, which may be a stranger's.

    Raises:
      InputError: the provenance is not what a search leaves.
    """
    try:
        return read()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: its provenance is not what a search leaves ({error!r})") from error


def _check(arrays: dict[str, np.ndarray], about: dict) -> None:
    """Raises ValueError where the parts of a file do not fit together, or are not of their kinds."""
    masks, scores = arrays["masks"], arrays.get("scores")
    if masks.dtype != bool or masks.ndim != 4 or not masks.shape[0] or not all(masks.shape[2:]):
        raise ValueError(f"masks of {masks.dtype} {list(masks.shape)}")
    shares, classes, *plane = masks.shape
    if scores is not None and (scores.dtype.kind != "f" or list(scores.shape) != [classes, *plane]):
        raise ValueError(f"scores of {scores.dtype} {list(scores.shape)} beside masks of {list(masks.shape)}")
    for name, kinds, length in (("shares", "fiu", shares), ("classes", "U", classes), ("images", "iu", classes)):
        if arrays[name].shape != (length,) or arrays[name].dtype.kind not in kinds:
            raise ValueError(f"{name} of {arrays[name].dtype} {list(arrays[name].shape)}")
    if not ((arrays["shares"] > 0) & (arrays["shares"] <= 1)).all():
        raise ValueError("shares outside (0, 1]")
    # The method is part of the names of files.
    if not re.fullmatch(r"\w{1,40}", about["method"]):
        raise ValueError(f"method {about['method']!r}")
    for name, kind in (("searched_on", str), ("forward_equivalents", int), ("provenance", dict)):
        if not isinstance(about[name], kind):
            raise ValueError(f"{name} of another kind")


def from_scores(
    scores: Iterable[Float[np.ndarray, "height width"]], shares: tuple[float, ...], **about: Any
) -> DominantFrequencyMaps:
    """Maps that keep the best orbits of each class at each share.

    Args:
      scores: of each class, constant on orbits, larger = more dominant.
      shares: in (0, 1].
      **about: the other attributes of DominantFrequencyMaps.
    """
    shares = tuple(sorted(shares))

    def of_class(
        plane: np.ndarray,
    ) -> tuple[Bool[np.ndarray, "shares height width"], Float[np.ndarray, "height width"]]:
        # As they are kept, so that masks at other shares, cut from the file's scores, lie inside and around these.
        plane = plane.astype(np.float32)
        return np.stack([masks_lib.within_share(plane, share) for share in shares]), plane

    return from_classes(map(of_class, scores), shares, **about)


def from_classes(
    found: Iterable[tuple[Bool[np.ndarray, "shares height width"], Float[np.ndarray, "height width"] | None]],
    shares: tuple[float, ...],
    **about: Any,
) -> DominantFrequencyMaps:
    """Maps put together class by class, in memory or, beyond IN_MEMORY bytes an array, in files that end with them.

    Where the temporary folder has no room for those, they are in memory too.

    Args:
      found: masks and scores, or None, of each class.
      shares: of the masks, ascending.
      **about: the other attributes of DominantFrequencyMaps.
    """
    count, scores = len(about["classes"]), None
    kept: Any = None
    for label, (masks, plane) in enumerate(found):
        if kept is None:
            kept = _empty((len(shares), count, *masks.shape[1:]), bool)
            scores = None if plane is None else _empty((count, *plane.shape), np.float32)
        kept[:, label] = masks
        if scores is not None and plane is not None:
            scores[label] = plane
    return DominantFrequencyMaps(masks=kept, shares=shares, scores=scores, **about)


def _empty(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    # The file has no name and is gone with the last array that looks at it. Its room is taken now, where the system
    # can: a page that finds none later ends the process by a signal.
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError:
        return np.empty(shape, dtype)
