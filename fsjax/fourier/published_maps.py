"""Read the pickles of the published PyTorch code, and write maps as it does."""

import dataclasses
import math
import pickle
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from fsjax.fourier import dfm
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import at_threshold
from fsjax.runtime import files, storage, torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.runtime.torch_files import Inert, tensor

_ACCEPTED = (
    "expected a workdir of fsjax or one of its dfm/*.npz, or a pickle of {class index: S x S scores, or S x S of 0 "
    "and 1, or a list of such masks} with indices 0, 1, ... and planes of one size"
)


def read_maps(path: str | Path, *, classes: tuple[str, ...] | None, shares: tuple[float, ...]) -> DominantFrequencyMaps:
    """Load maps of fsjax, or of a published pickle, whose masks need not be constant on orbits.

    Scores in a pickle become masks by the published threshold, as maps of `removal` with compat. Masks in a pickle
    become maps at one share: the X of `_DFM_<X>` in the file's name, as a share or in per cent, whichever is nearer to
    what the masks keep. Without such a name it is the smallest share that allows all masks. Of a list of masks the
    first is the map, as in HFSS. Nothing in a pickle runs. A pickle does not say which images were searched, or how
    many: `searched_on` is 'test', as in the published code, and `images` is 0.

    path: a workdir with one file dfm/*.npz, such a file, or a pickle; its SHA-256 is in `provenance["file"]`. classes:
    names of a pickle's class indices; None = '0', '1', ... shares: of the masks that are made from a pickle's scores.
    Raises InputError for no file, several maps in a workdir, and a file that holds something else.
    """
    file = maps_file(path)
    source = {"file": {"path": str(file), "sha256": files.sha256(file)}}
    if file.suffix == ".npz":
        maps = DominantFrequencyMaps.load(file)
        return dataclasses.replace(maps, provenance={**maps.provenance, **source})
    entries = _content(file)
    if not isinstance(entries, dict) or not entries or set(entries) != set(range(len(entries))):
        raise _refused(file, _describe(entries))
    if classes is not None and len(classes) != len(entries):
        raise InputError(f"{file}: got maps of {len(entries)} classes; expected maps of {len(classes)} classes")
    planes = [_plane(file, label, entries[label]) for label in range(len(entries))]
    if len(shapes := {plane.shape[-2:] for plane in planes}) > 1:
        raise _refused(file, f"planes of {' and '.join(f'{h} x {w}' for h, w in sorted(shapes))}")
    binary = all(np.isin(plane, (0, 1)).all() for plane in planes)
    if not binary and any(plane.ndim == 3 for plane in planes):
        raise _refused(file, "lists of planes that are not of 0 and 1")
    planes = [plane[0] if plane.ndim == 3 else plane for plane in planes]
    attributes = {
        "classes": classes or tuple(str(label) for label in range(len(planes))),
        "method": "published" if binary else "removal",
        "searched_on": "test",
        "images": np.zeros(len(planes), int),
        "forward_equivalents": 0,
        "provenance": {**source, **({} if binary else {dfm.COMPAT: True})},
    }
    if binary:
        masks = [plane.astype(bool) for plane in planes]
        return dfm.from_classes(((mask[None], None) for mask in masks), (_named_share(file, masks),), **attributes)
    return dfm.from_scores(planes, shares, mask=at_threshold, **attributes)


def read_order(path: str | Path) -> Float64[np.ndarray, "height width"]:
    """Load a removal order: larger = earlier, 0 = always removed; a pickle or .npy of one plane, else InputError."""
    content = _content(storage.path(path))
    order = _numbers(content)
    if order is None or order.ndim != 2 or not np.isfinite(order).all() or order.min() < 0 or not order.any():
        expected = "one plane of finite numbers, 0 (always removed) or greater (larger = earlier), some above 0"
        raise InputError(f"{path}: got {_describe(content)}; expected a removal order, {expected}")
    return order.astype(np.float64)


def write_maps(maps: DominantFrequencyMaps, folder: str | Path, name: str, patch: int = 1) -> list[Path]:
    """Write maps as pickles that the published code reads, and return the files.

    `<name>loss<patch>.pkl` has {class index: H x W float32 tensor} of the scores, if there are scores; writing it needs
    PyTorch. `<name>_DFM_<X>.pkl` has {class index: H x W float32 array of 0 and 1} for a share of X per cent. Class
    names and provenance are not written.
    """
    folder = storage.path(folder)
    written = []

    def write(file: str, plane: Callable[[int], Any]) -> None:
        content = {label: plane(label) for label in range(len(maps.classes))}
        written.append(folder / file)
        with files.replacing(written[-1]) as opened:
            pickle.dump(content, opened)

    if (scores := maps.scores) is not None:
        write(f"{name}loss{patch}.pkl", lambda label: tensor(np.asarray(scores[label], np.float32)))
    for share in maps.shares:
        masks = maps.at(share).astype(np.float32)
        write(f"{name}_DFM_{100 * share:g}.pkl", masks.__getitem__)
    return written


def maps_file(path: str | Path) -> Path:
    """Return the path, or the only maps of a workdir; raise InputError for no file, or several maps."""
    path = storage.path(path)
    if not path.exists():
        raise InputError(f"{path}: not there; {_ACCEPTED}")
    if not path.is_dir():
        return path
    found = dfm.files_in(path)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "nothing"
        raise InputError(f"{path}: holds {names} in dfm/; expected a folder with one .npz there, or the file itself")
    return found[0]


def _content(file: Path) -> Any:
    return files.map_npy(file) if file.suffix == ".npy" else torch_files.load(file)


def _plane(file: Path, label: int, entry: Any) -> Float[np.ndarray, "*masks height width"]:
    """Return a class's plane [H, W], or its list of masks [masks, H, W]."""
    numbers = _numbers(entry)
    if numbers is None or numbers.ndim not in (2, 3):
        raise _refused(file, f"class {label}: {_describe(entry)}")
    if not np.isfinite(numbers).all():
        raise _refused(file, f"class {label}: {int((~np.isfinite(numbers)).sum())} values that are not finite")
    return numbers.astype(np.float64) if numbers.dtype.kind != "f" else numbers


def _numbers(content: Any) -> np.ndarray | None:
    """Return nested lists and arrays as one array of real numbers; None where they are anything else, or empty."""
    if not isinstance(content, list | tuple | np.ndarray):
        return None
    try:
        numbers = np.asarray(content)
    except ValueError:  # a ragged list
        return None
    return numbers if numbers.dtype.kind in "biuf" and numbers.size else None


def _named_share(file: Path, masks: list[np.ndarray]) -> float:
    """Return the share in a file's name, or the smallest share that allows all masks."""
    needed = max(1, max(int(mask.sum()) for mask in masks)) / masks[0].size
    named = [float(number) for number in re.findall(r"_DFM_(\d*\.?\d+)", file.name)[-1:]]
    shares = [share for number in named for share in (number, number / 100) if 0 < share <= 1]
    return min(shares, key=lambda share: abs(math.log(share / needed)), default=needed)


def _refused(file: Path, content: str) -> InputError:
    return InputError(f"{file}: got {content}; {_ACCEPTED}")


def _describe(content: Any) -> str:
    """Describe the content of a file in a few words."""
    if isinstance(content, dict):
        return f"the keys {reprlib.repr(list(content))}"
    if isinstance(content, np.ndarray):
        return f"an array of {' x '.join(map(str, content.shape)) or 'one number'}, {content.dtype}"
    if isinstance(content, Inert):
        return f"an object that is not read{f' ({content.name})' if content.name else ''}"
    if isinstance(content, list | tuple):
        numbers = _numbers(content)
        return "a list that is no plane of numbers" if numbers is None else _describe(numbers)
    return f"a {type(content).__name__}"
