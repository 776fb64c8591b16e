"""Photographs of class folders, decoded once and drawn for training, search, truth or verdict.

photographs = Photographs("DIR", size=32, cache=None)   # DIR/{train,test}/<class>/*.jpg
images = photographs.draw(folders, "train", rng)         # float32 [n, size, size, 3], 0 to 255
"""

import dataclasses
import functools
import hashlib
import pathlib

import numpy as np
from jaxtyping import Float32, Int, UInt8
from PIL import Image

from fsjax.runtime import files

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SHIFT = 3  # pixels that a drawn photograph is moved by, at most
PARTS = 3  # of the test photographs: disjoint, one each for truth, search and verdict


@dataclasses.dataclass(frozen=True)
class Photographs:
    """The photographs of a folder, cropped to their centre and resized to one size.

    Attributes:
      root: folder with train/<class>/ and test/<class>/.
      size: side of the images, pixels.
      cache: folder for decoded arrays; None decodes again in each process.
    """

    root: str = dataclasses.field(repr=False)
    size: int
    cache: str | None = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Return the class folders, in order of their names."""
        train = pathlib.Path(self.root) / "train"
        if not train.is_dir():
            raise ValueError(f"photographs: no folder {train}; expected train/<class>/ and test/<class>/ in it")
        return tuple(sorted(folder.name for folder in train.iterdir() if folder.is_dir()))

    def counts(self) -> Int[np.ndarray, " folders"]:
        """Return the number of training photographs of each folder."""
        return np.array([len(_paths(self.root, "train", name)) for name in self.names])

    def draw(
        self, folders: Int[np.ndarray, " n"], part: str | int, rng: np.random.Generator
    ) -> Float32[np.ndarray, "n size size 3"]:
        """Draw photographs, mirrored half of the time and moved by up to 3 pixels over a mirrored border.

        No photograph comes again before every one of its folder came.

        Args:
          folders: index in `names` for each image.
          part: "train", or a number: test photographs whose index leaves this remainder when divided by PARTS.
          rng: of the draw.
        """
        images = np.empty((len(folders), self.size, self.size, 3), np.uint8)
        for folder, name in enumerate(self.names):
            wanted = np.flatnonzero(folders == folder)
            if not len(wanted):
                continue
            pool = decoded(self.root, "train" if part == "train" else "test", name, self.size, self.cache)
            pool = pool if part == "train" else pool[int(part) % PARTS :: PARTS]
            rounds = -(-len(wanted) // len(pool))
            images[wanted] = pool[np.concatenate([rng.permutation(len(pool)) for _ in range(rounds)])[: len(wanted)]]
        mirrored = rng.random(len(images)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        rows, columns = (
            _mirror(np.arange(self.size) + rng.integers(-_SHIFT, _SHIFT + 1, (len(images), 1)), self.size)
            for _ in range(2)
        )
        moved = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
        return moved.astype(np.float32)


@functools.lru_cache(maxsize=64)
def decoded(root: str, split: str, name: str, size: int, cache: str | None) -> UInt8[np.ndarray, "images size size 3"]:
    """Return all photographs of a folder, from `cache` if they were decoded before."""
    paths = _paths(root, split, name)
    if not paths:
        raise ValueError(f"photographs: no images in {pathlib.Path(root) / split / name}")
    listed = hashlib.sha256(repr([(path.name, path.stat().st_size) for path in paths]).encode()).hexdigest()[:12]
    stored = None if cache is None else pathlib.Path(cache) / f"photographs-{split}-{name}-{size}-{listed}.npz"
    if stored and stored.exists():
        return files.read_npz(stored)["images"]
    images = np.stack([_decode(path, size) for path in paths])
    if stored:
        stored.parent.mkdir(parents=True, exist_ok=True)
        files.write_npz(stored, images=images)
    return images


@functools.lru_cache(maxsize=512)
def _paths(root: str, split: str, name: str) -> list[pathlib.Path]:
    folder = pathlib.Path(root) / split / name
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)


def _decode(path: pathlib.Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _mirror(positions: np.ndarray, size: int) -> np.ndarray:
    positions = abs(positions)
    return np.where(positions >= size, 2 * (size - 1) - positions, positions)
