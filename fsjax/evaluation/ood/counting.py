"""Counts of predictions on a set: unfiltered, under each class's map, and under control masks of the map's size."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation.ood import sets
from fsjax.evaluation.ood.sets import Part, Set
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.rates import POOL, Filterer, confusion_matrix
from fsjax.fourier import masks, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.spectrum import Mask, Masks, Plane
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path

# Rows of counts, followed by a row for each kind of control. First a class's images, and how many of them and of others
# are predicted as the class. Then the same under the class's map, where the others are those in the pool, and how many
# the pool has.
ROWS = ("images", "right", "wrong", "filtered_right", "filtered_wrong", "filtered_others")
# The first images of a class, whose energy gives its mask of highest energy.
ENERGY_IMAGES = 100
# Smallest image batch of a tile, where a device takes as many.
_BATCH = 16
_CACHED = 64  # classes whose control masks are cached


class Counter:
    """Counts the predictions of a model on sets; `test` are the test images.

    Of `maps`, each class's map at the share nearest to config.report.share is judged; None = unfiltered images alone.
    """

    def __init__(self, config: ConfigDict, model: Model, test: Dataset, maps: DominantFrequencyMaps | None = None):
        self._config, self._test = config, test
        self._model = model.at(config.search.precision, config.search.transform)
        self._share = maps.nearest(config.report.share) if maps is not None else 0.0
        self._maps = maps.at(self._share) if maps is not None else None
        self.controls: dict[str, int] = {}  # field of ControlRates -> number of masks
        if self._maps is not None:
            self.controls = control_kinds(self._maps, config.ood.random_masks)
        self.rows = (*ROWS, *self.controls)
        self._restricted = functools.cache(self._restrict)
        self._control_masks = functools.lru_cache(_CACHED)(self._make_controls)

    def count(
        self, image_set: Set, folder: Path, identity: dict, *, controls_only: bool = False
    ) -> Int[np.ndarray, "parts rows classes"]:
        """Return the counts of every part of a set; partial results in the folder let a restart count the rest.

        Collective: every process must call this; processes share the parts, and all return the same. `identity` are
        JSON values that identify model and maps; with `controls_only`, only images and controls are counted.
        """
        parts, classes, ood = image_set.parts, len(self._model.classes), self._config.ood
        identity = {**identity, "set": image_set.made_of, "images_per_class": ood.images_per_class}
        identity |= {"parts": [part.size for part in parts], "pool": POOL}
        if self._maps is not None:
            controls = {"images": ENERGY_IMAGES, "random_masks": ood.random_masks, "seed": self._config.seed}
            identity |= {"share": self._share, "controls": controls}
        text = json.dumps(identity, sort_keys=True)
        name = f"{sets.file_name(image_set.name)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        store = PartialResults(folder / name, {}, self._model.params, text)
        counts = np.empty((len(self.rows), classes, len(parts)))
        table = store.table("counts", counts)
        missing, _ = table.claim()
        if len(missing):
            count_part = self._part_counter(image_set, controls_only)
            sizes = np.array([part.size for part in parts])
            process, processes = parallel.process()
            own = missing[process::processes]  # parts in the pool, which take longest, lie together
            done = int(sizes.sum() - sizes[own].sum())
            with Progress(f"ood {image_set.name}", int(sizes.sum()), "images", done=done) as progress:

                def counted() -> Iterator[tuple[Int[np.ndarray, " 1"], Float[np.ndarray, "rows classes 1"]]]:
                    for index in own:
                        yield np.array([index]), count_part(parts[index])[..., None].astype(float)
                        progress.update(parts[index].size)

                table.fill(counted(), lambda rows: None)
        return np.moveaxis(parallel.merge(counts), -1, 0).astype(np.int64)

    def _part_counter(self, image_set: Set, controls_only: bool) -> Callable[[Part], Int[np.ndarray, "rows classes"]]:
        """Return a function that counts a part in this process. Collective: every process must call this."""
        model, engine = self._restricted(image_set.classes if image_set.restrict else None)
        predict = make_predictor(model.apply, *model.mean_std, precision=model.matmul_precision)
        classes = len(model.classes)
        targets, most = np.array(image_set.classes), max(part.size for part in image_set.parts)
        first_masks = np.cumsum([0, *self.controls.values()])[:-1]

        def predicted(
            pixels: Float[np.ndarray, "images height width channels"],
            labels: Int[np.ndarray, " images"],
            drawn: Masks,
            targets: Int[np.ndarray, " masks"],
        ) -> Int[np.ndarray, "masks classes"]:
            """Count the images of each class that are predicted as a mask's target when filtered by the mask."""
            # Depends on nothing but these numbers, so that few programs compile.
            size = min(engine.tile_images, most, max(_BATCH, engine.perturbations_per_tile(1) // len(drawn)))
            batches = engine.image_batches(pixels, labels, np.eye(classes, dtype=np.float32)[labels], size=size)
            sums = engine.sums(batches, drawn, targets=targets, on_tile=lambda _: interrupt.check())
            return np.rint(sums["predicted_target"]).astype(np.int64)

        def count(part: Part) -> Int[np.ndarray, "rows classes"]:
            images = part.open()
            labels, counts = images.labels, np.zeros((len(self.rows), classes), np.int64)
            counts[0] = np.bincount(labels, minlength=classes)
            if not controls_only:
                logits = np.concatenate([logits for _, logits in predict(model.params, images, alone=True)])
                matrix = confusion_matrix(labels, logits.argmax(-1), classes)
                counts[1:3] = np.diag(matrix), matrix.sum(0) - np.diag(matrix)
            if self._maps is None:
                return counts
            pixels = normalise(images.images(np.arange(len(images))), *model.mean_std)
            if not controls_only:
                # Maps of classes that the set lacks are not applied, and beyond the pool only those of the part's.
                asked = targets if part.pooled else np.unique(labels)
                filtered = predicted(pixels, labels, self._maps[asked], asked)
                counts[3, asked] = filtered[np.arange(len(asked)), asked]
                if part.pooled:
                    counts[4, asked], counts[5] = filtered.sum(1) - counts[3, asked], len(labels) - counts[0]
            for label in np.unique(labels) if self.controls else ():
                # Controls filter the class's own images alone, so they cost as much for any number of classes.
                own, drawn = labels == label, self._control_masks(int(label))
                right = predicted(pixels[own], labels[own], drawn, np.full(len(drawn), label))[:, label]
                counts[6:, label] = np.add.reduceat(right, first_masks)
            return counts

        return count

    def _restrict(self, labels: tuple[int, ...] | None) -> tuple[Model, Engine]:
        """Return the model with -inf for all outputs but `labels`, None = all, and its engine."""
        model = self._model
        if labels is not None:

            def apply(params: PyTree, images: Float[Array, "n height width 3"]) -> Float[Array, "n outputs"]:
                logits = self._model.apply(params, images)
                allowed = np.zeros(logits.shape[-1], bool)
                allowed[list(labels)] = True
                return jnp.where(allowed, logits, -jnp.inf)

            model = dataclasses.replace(model, apply=apply, apply_bfloat16=None)
        return model, Filterer(model, len(self._test), self._config.run.memory_mib).engine

    def _make_controls(self, label: int) -> Masks:
        assert self._maps is not None, "only maps have controls"
        plane = self._maps.shape[1:]
        # The class's first test images give its mask of highest energy, on every set.
        rows = np.flatnonzero(self._test.labels == label)[:ENERGY_IMAGES]
        energy = -spectrum.radius(*plane)  # without images, lower frequencies have more
        if len(rows):
            energy = spectrum.energy(normalise(self._test.images(rows), *self._model.mean_std))
        budget = masks.budget(self._share, *plane)
        return control_masks(self._maps[label], energy, budget, self.controls, self._config.seed, label)


def control_kinds(maps: Bool[np.ndarray, "classes height width"], random_masks: int) -> dict[str, int]:
    """Return field of ControlRates -> number of masks; only maps that are constant on orbits have a radial profile."""
    if not random_masks:
        return {}
    kinds = {"low_pass_tpr": 1, "highest_energy_tpr": 1, "random_tpr": random_masks}
    return kinds | ({"radial_tpr": random_masks} if spectrum.is_hermitian(maps) else {})


def control_masks(own: Mask, energy: Plane, budget: int, kinds: dict[str, int], seed: int, label: int) -> Masks:
    """Return model-independent masks of the same size as a class's map, `own`, in the order of `control_kinds`.

    A control keeps as many positions as the map, or the whole budget where whole orbits left one position over. Random
    masks are the first orbits of the same random orders for all classes.
    """
    (height, width), positions = own.shape, int(own.sum())
    positions += positions == budget - 1
    drawn = [masks.low_pass(height, width, positions), masks.best_orbits(energy, positions)]
    for index in range(kinds["random_tpr"]):
        drawn.append(masks.random(height, width, positions, generator(seed, Stream.RANDOM_CONTROLS, index)))
    rng = generator(seed, Stream.RADIAL_CONTROLS, label)
    return np.stack(drawn + [masks.radial_matched(own, rng) for _ in range(kinds.get("radial_tpr", 0))])
