"""Find triggers: a faint wave that turns other classes' images into a class.

Grafts do not show a cue that suffices but is not needed, such as the trigger of a backdoor: test images of its class
lack it. So each orbit's wave, A cos(k.x + phase), is added to all channels of some images, with a random phase in each.
The largest of many rates is too high by chance; so the best orbit of each class is measured again on fresh images,
beside waves of other orbits with the same energy.

Maps play no part, so images that a search has seen serve as well, and all search methods share the result.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from fsjax.data.selection import Indices, Labels, images_by_class
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Triggers
from fsjax.evaluation.rates import ratio
from fsjax.evaluation.statistics import wilson
from fsjax.evaluation.waves import NOTHING, Waves
from fsjax.fourier import spectrum
from fsjax.runtime.partial_results import digest
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path

# A wave's amplitude, by the standard deviation of the normalised pixels.
AMPLITUDE = 0.35
# Images that meet every orbit's wave; images of other classes that meet a class's best one; other orbits beside it.
_SCREENED, _CONFIRMED, _CONTROLS = 60, 120, 8


def measure(
    model: Model,
    read: Callable[[Indices], Float[np.ndarray, "n height width channels"]],
    labels: Labels,
    classes: int,
    *,
    seed: int = 0,
    amplitude: float = AMPLITUDE,
    memory_mib: int = 0,
    folder: Path | None = None,
    known: Triggers | None = None,
) -> Triggers:
    """Return each class's best trigger, for two classes or more. Collective; restarts and memory as `waves.Waves`.

    `read` maps indices to normalised images; amplitude: of a wave, in standard deviations of their pixels. Partial
    results lie in the folder. `known` triggers are returned where they are of this model, these labels and this seed.
    """
    plane, identity = model.image_shape[:2], digest((model.params, labels, np.array(seed)))[:16]
    if known is not None and known.identity == identity:
        return known
    screened, confirmed = draw(labels, seed)
    images = read(screened)
    scale, rng = amplitude * float(images.std()), generator(seed, Stream.TRIGGER_PHASES)
    waves = Waves(
        model,
        "predicted",
        [len(screened), len(confirmed)],
        identity,
        reduce=lambda sums: sums.argmax(-1).astype(float),
        memory_mib=memory_mib,
        directory=folder and folder / f"triggers-{identity}",
    )

    def shares(
        name: str, images: Float[np.ndarray, "n height width channels"], drawn: Indices, orbits: Int[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "classes k"], Int[np.ndarray, " classes"]]:
        phases = rng.uniform(0, 2 * np.pi, (len(images), 1 + spectrum.orbits(*plane).max()))
        rows, size = np.append(NOTHING, orbits), waves.batch_size

        def predicted(start: int) -> Float[np.ndarray, "batch waves"]:
            part = drawn[start : start + size]
            # The shape of a whole batch, so that one program serves all.
            turns = np.exp(1j * np.pad(phases[start : start + size], [(0, size - len(part)), (0, 0)])).T[rows]
            return waves.sums(
                f"{name}/{start:05d}",
                lambda: images[start : start + size],
                labels[part],
                np.eye(len(part), size, dtype=np.float32),
                rows,
                lambda some: scale * turns[some, :, None],
                progress,
            )[: len(part)]

        before, *after = np.concatenate([predicted(start) for start in range(0, len(drawn), size)]).astype(int).T
        return became(labels[drawn], before, np.array(after), classes)

    every_orbit = np.setdiff1d(spectrum.orbits(*plane), spectrum.orbits(*plane)[plane[0] // 2, plane[1] // 2])
    with Progress("triggers", passes(labels, classes, plane), "images") as progress:
        at_screening, _ = shares("screened", images, screened, every_orbit)
        best = every_orbit[at_screening.argmax(1)]
        controls = [of_same_radius(int(orbit), every_orbit, plane) for orbit in best]
        measured = np.unique(np.concatenate([best, *controls]))
        share, counts = shares("confirmed", read(confirmed), confirmed, measured)
        progress.skip(passes(labels, classes, plane) - progress.count)  # classes may share orbits
    under_best = share[:, np.searchsorted(measured, best)]
    triggered, others = under_best.diagonal(), np.where(np.eye(classes, dtype=bool), np.nan, under_best)
    elsewhere = [of_class[np.searchsorted(measured, at)].mean() for of_class, at in zip(share, controls, strict=True)]
    rows, columns = np.unravel_index(spectrum.first_members(*plane)[best], plane)
    return Triggers(
        identity=identity,
        amplitude=scale,
        position=np.stack([rows, columns], -1),
        frequency=spectrum.radius(*plane)[rows, columns],
        triggered=triggered.copy(),
        triggered_ci=wilson(np.rint(triggered * counts), counts),
        elsewhere=np.array(elsewhere),
        others=np.fmax.reduce(others),
        images=counts,
    )


def passes(labels: Labels, classes: int, plane: tuple[int, int]) -> int:
    """Return how many forward passes `measure` makes at most."""
    screened, confirmed = draw(labels, 0)
    orbits = int(spectrum.orbits(*plane).max())  # without DC
    return len(screened) * (1 + orbits) + len(confirmed) * (1 + min(orbits, classes * (1 + _CONTROLS)))


def draw(labels: Labels, seed: int) -> tuple[Int[np.ndarray, " screened"], Int[np.ndarray, " confirmed"]]:
    """Draw the images of both stages, equally from all classes; the second are fresh where the set has enough."""
    rng, by_class = generator(seed, Stream.TRIGGER_IMAGES), images_by_class(labels, np.arange(len(labels)))
    shuffled = np.concatenate([rng.permutation(images) for images in by_class.values()])
    turns = np.concatenate([np.arange(len(images)) for images in by_class.values()])
    dealt = shuffled[np.lexsort((rng.permutation(len(turns)), turns))]
    confirmed = -(-_CONFIRMED * len(by_class) // max(1, len(by_class) - 1))
    first = max(0, min(_SCREENED, len(dealt) - confirmed))
    return dealt[:_SCREENED], dealt[first : first + confirmed]


def became(
    labels: Labels, before: Labels, after: Int[np.ndarray, "k images"], classes: int
) -> tuple[Float[np.ndarray, "classes k"], Int[np.ndarray, " classes"]]:
    """Return the share of images that become each class, and how many could: of another class, and predicted so.

    before, after: the predicted class of each image as it is, and with each wave.
    """
    names = np.arange(classes)[:, None]
    could = (labels != names) & (before != names)
    turned = np.stack([((after == label) & could[label]).sum(1) for label in range(classes)], -1)
    return ratio(turned, could.sum(1)).T, could.sum(1)


def of_same_radius(orbit: int, orbits: Int[np.ndarray, " k"], plane: tuple[int, int]) -> Int[np.ndarray, " controls"]:
    """Return the other orbits whose radius is nearest to an orbit's."""
    radius = spectrum.per_orbit(spectrum.radius(*plane))
    order = orbits[np.argsort(abs(radius[orbits] - radius[orbit]), kind="stable")]
    return order[order != orbit][:_CONTROLS]
