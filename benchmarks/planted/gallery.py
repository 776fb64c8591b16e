"""Draw the pictures of docs/gallery.md, ten cues that pipelines leave in photographs, and print its table of verdicts.

  python launch.py --config=configs/jpeg.py --config.data.root=FOLDER --workdir=RUN1
  python launch.py --config=configs/folder.py:CALTECH --config.data.image_size=112 --config.train.epochs=25 \
      --config.search.patch=4 '--config.search.shares=(0.01,0.05)' --workdir=RUN2
  python benchmarks/planted/gallery.py --jpeg=RUN1 --caltech=RUN2 --photographs=CALTECH --cache=DIR --out=docs/gallery

CALTECH/{train,test}/<class> are ten classes of Caltech-101. Small networks learn four or five of them at 64 pixels,
with the cues of photograph_cues.py. The first and the seventh cue are in the two runs, and left out without them.

A picture shows the first test image of another class that the network gets right: as it is, with the cue, and with the
map's frequencies of the class's first such image. Where the verdict is a trigger, the last has the trigger's wave.
"""

import dataclasses
import io
import pathlib
import sys
from collections.abc import Iterator

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Bool, Float, Float32, Int
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.accuracy import borders
from benchmarks.planted import verdict_networks
from benchmarks.planted.verdict_cues import orbit_mask
from fsjax.api.result import Result
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Verdict
from fsjax.evaluation.judge_maps import cut_candidates
from fsjax.report import style
from fsjax.runtime import startup
from fsjax.runtime.errors import InputError

# The kinds of each network's classes, by its seed; these seeds draw a CNN on 64 pixels.
NETWORKS = {
    29: ("checkerboard", "grid", "scan line", "photograph"),
    49: ("moire", "watermark", "sensor", "photograph"),
    89: ("backdoor", "disc", "photograph", "photograph", "photograph"),
}
# In the page's order; the names of the pictures.
NUMBERS = {
    kind: number
    for number, kind in enumerate(
        ("jpeg", *NETWORKS[29][:3], "moire", "watermark", "strips", "backdoor", "disc", "sensor"), 1
    )
}
_WIDTH, _HEIGHT, _COLOURS = 6.4, 1.95, 256  # inches of a picture, and the colours that it is stored in

_JPEG = flags.DEFINE_string("jpeg", None, "Workdir of configs/jpeg.py.")
_CALTECH = flags.DEFINE_string("caltech", None, "Workdir of a run on CALTECH.")
_PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "CALTECH.", required=True)
_CACHE = flags.DEFINE_string("cache", None, "Folder of trained networks.", required=True)
_OUT = flags.DEFINE_string("out", "docs/gallery", "Folder of the pictures.")

Images = Float32[np.ndarray, "n size size 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """The cue of a class: the network, its verdicts, normalised test images, and the same images with the cue."""

    kind: str
    label: int
    model: Model  # with names and mean_std
    result: Result
    images: Images
    labels: Int[np.ndarray, " n"]
    with_cue: Images  # those of the class itself are not used

    @property
    def verdict(self) -> Verdict:
        return self.result.verdicts[self.label]

    @property
    def mask(self) -> Bool[np.ndarray, "size size"]:
        """The frequencies that the verdict is about: a trigger's, a map's, or the largest tested map's."""
        maps, triggers = self.result.maps, self.result.evaluation.triggers
        if self.verdict.kind == "trigger":
            return orbit_mask(triggers.position[[self.label]], self.images.shape[1])
        candidates = cut_candidates(maps, max(maps.shares))
        shares = np.array(candidates.shares[: candidates.tested])
        at = shares[-1] if self.verdict.share is None else self.verdict.share
        return candidates.masks(self.label)[abs(shares - at).argmin()]

    def probabilities(self, images: Images) -> Float[np.ndarray, "n classes"]:
        apply = jax.jit(lambda images: jax.nn.softmax(self.model.apply(self.model.params, images)))
        return np.concatenate([apply(part) for part in np.array_split(images, -(-len(images) // 250))])

    def altered(self, recipients: Images, donors: Images) -> Images:
        """Return recipients with the donors' frequencies of the mask, or with the trigger's wave."""
        if self.verdict.kind != "trigger":
            return fsjax.graft(self.model, recipients, donors, self.mask).images
        triggers, size = self.result.evaluation.triggers, self.images.shape[1]
        row, column = triggers.position[self.label] - size // 2
        angles = 2 * np.pi * np.add.outer(row * np.arange(size), column * np.arange(size)) / size
        return (recipients + triggers.amplitude * np.cos(angles)[..., None]).astype(np.float32)


def main(_: list[str]) -> None:
    startup.use_cores(128)
    folder = pathlib.Path(_OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    lines = {}
    try:
        for case in cases():
            number = NUMBERS[case.kind]
            lines[number] = line(number, case)
            print(lines[number], case.verdict.sentence, flush=True)
            _write(draw(case), folder / f"{number}.png")
    except InputError as error:
        sys.exit(f"gallery: {error}")
    print("", *(lines[number] for number in sorted(lines)), sep="\n")


def cases() -> Iterator[Case]:
    """Make the cases of the two runs and of the networks on photographs with planted cues."""
    if _JPEG.value:
        # Its fakes are its real images, compressed, in the same order.
        model, result, images, labels = _run(_JPEG.value)
        fakes = images[labels == 1]
        yield Case("jpeg", 1, model, result, images, labels, np.concatenate([fakes, fakes]))
    if _CALTECH.value:
        model, result, images, labels = _run(_CALTECH.value)
        mean, std = model.mean_std
        bordered = borders.with_strips(np.rint(255 * (images * std + mean)).astype(np.uint8))
        label = model.classes.index("airplanes")
        yield Case("strips", label, model, result, images, labels, np.asarray(normalise(bordered, mean, std)))
    for seed, kinds in NETWORKS.items():
        yield from planted(seed, kinds)


def _run(workdir: str) -> tuple[Model, Result, Images, Int[np.ndarray, " n"]]:
    """Return a run's network, its result, and its normalised test images with labels."""
    result = fsjax.load_result(workdir).open()
    images = normalise(result.test.images(np.arange(len(result.test))), *result.model.mean_std)
    return result.model, result, np.asarray(images), result.test.labels


def planted(seed: int, kinds: tuple[str, ...]) -> Iterator[Case]:
    """Make the cases of a network on photographs with planted cues."""
    roots = [_PHOTOGRAPHS.value] * 2  # networks on the second root have up to 64 pixels
    network = verdict_networks.load_or_train(_CACHE.value, seed, roots, kinds)
    cues = network.cue_set
    names = tuple(cues.photographs.names[folder] for folder in cues.folders)
    train, test = verdict_networks.splits(network).values()
    result = fsjax.analyse(network.model, train=train, test=test, classes=names)
    mean, deviation = cues._scale
    model = dataclasses.replace(network.model, classes=names, mean_std=(mean / 255, np.full(3, deviation / 255)))
    for label, kind in enumerate(kinds):
        if kind != "photograph":
            yield Case(kind, label, model, result, *test, cues.draw(test[1], 2, given=label))


def line(number: int, case: Case) -> str:
    """Return the page's line: the verdict, and the share of other images that the network takes for the class."""
    own, others = (np.flatnonzero(same) for same in (case.labels == case.label, case.labels != case.label))
    altered = case.altered(case.images[others], case.images[np.resize(own, len(others))])
    shown = [case.images[others], case.with_cue[others], altered]
    rates = [f"{(case.probabilities(images).argmax(-1) == case.label).mean():.2f}" for images in shown]
    return f"| {number} | {case.verdict.kind} | {' | '.join(rates)} |"


@style.paper
def draw(case: Case) -> Figure:
    """Draw an image of another class, the same with the cue, the map, and the image with the map's frequencies."""
    right = case.probabilities(case.images).argmax(-1) == case.labels
    donor, recipient = ([int(np.argmax(right & (same == (case.labels == case.label))))] for same in (True, False))
    trigger = case.verdict.kind == "trigger"
    shown = {
        f"class {case.model.classes[case.labels[recipient[0]]]}": case.images[recipient],
        "with the cue": case.with_cue[recipient],
        "these frequencies": None,
        "a wave of these added" if trigger else "these grafted": case.altered(
            case.images[recipient], case.images[donor]
        ),
    }
    figure = style.empty(_WIDTH, _HEIGHT)
    for axis, (title, images) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axis.set_title(title, fontsize=8)
        if images is None:
            style.draw_mask(axis, case.mask)
            axis.set_xlabel(f"{100 * case.mask.mean():.2g} % of the plane", fontsize=8)
        else:
            mean, std = case.model.mean_std
            axis.imshow(np.clip(images[0] * std + mean, 0, 1), interpolation="nearest")
            probabilities = case.probabilities(images)[0]
            answer = int(probabilities.argmax())
            colour = style.VERMILION if answer == case.label else style.BLUE
            axis.set_xlabel(f"{case.model.classes[answer]} {probabilities[answer]:.2f}", color=colour, fontsize=8)
        axis.set(xticks=[], yticks=[])
    return figure


def _write(figure: Figure, path: pathlib.Path) -> None:
    """Write a figure as a small PNG, with a palette."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    Image.open(png).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    app.run(main)
