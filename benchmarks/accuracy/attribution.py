"""Compare orders of single images' frequencies: which first frequencies keep predictions, and which were planted?

  python benchmarks/accuracy/attribution.py --noise=1000,1001 --cache=DIR --out=FILE
  python benchmarks/accuracy/attribution.py --photographs=3,23 --roots=DIR,DIR --cache=DIR --out=FILE
  python benchmarks/accuracy/attribution.py --lite0=DIR --images=30 --out=FILE
  python benchmarks/accuracy/attribution.py --config=configs/cifar10_cpu.py --workdir=DIR --out=FILE

On trained networks of benchmarks/planted/verdict.py; on EfficientNet-Lite0 and the photographs of DIR/<class>/; or on a
config's classifier. attribution_rivals.py has the methods. The baseline is the empty spectrum. Each part is a row
of `--out`, and a run that is started again goes on. Then a table is printed, a row an order:

passes      forward passes an image behind the order; a gradient counts as three
80 %, 95 %  smallest share of the plane whose first frequencies keep these shares of predictions, interpolated
insertion   probability of the prediction with the first frequencies alone, mean over the tested shares
deletion    the same without them; lower is better
AP          average precision of the order against the planted orbits

In brackets are 95 % bootstrap intervals, over images or planted classes, paired with `fsjax.attribute`: of the ratio of
smallest shares, and of differences.
"""

import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.accuracy import attribution_rivals as rivals
from benchmarks.accuracy import attribution_subjects as subjects
from benchmarks.common import markdown
from benchmarks.common import rows as row_file
from fsjax.evaluation import attribution
from fsjax.evaluation.evaluate import recovery
from fsjax.runtime import startup

SHARES = (0.0002, 0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
LEAST = 0.005  # an orbit of the smallest planted sets
OURS = "fsjax.attribute"
STEPS, REFINEMENTS = 8, 24  # as in fsjax.attribute
# In the authors' code 1 for ImageNet and 20 for CIFAR-10; small planes get both.
FFC_STEPS, LARGE = (1, 20), 96


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    startup.use_cores(128)
    out = pathlib.Path(flags.FLAGS.out)
    found = {row["part"]: row for row in row_file.begun(out)}
    named = dict(parts())
    for name in [name for name in named if name not in found]:
        started, part = time.monotonic(), named[name]()
        found[name] = {"part": name, **(measure(part) if part else {})}
        row_file.add(out, [found[name]])
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    measured = [found[name] for name in named if "units" in found[name]]
    print(table(measured) if measured else "no prediction of these networks rests on planted orbits")


def parts() -> Iterator[tuple]:
    """Return the parts that the flags name."""
    own = flags.FLAGS
    if own.noise or own.photographs:
        seeds = [int(seed) for seed in own.noise or own.photographs]
        return subjects.planted(seeds, own.roots if own.photographs else (), own.cache, own.images or 12)
    if own.lite0:
        return subjects.lite0(own.lite0, own.images or 30)
    return subjects.trained(own.config, own.workdir, own.images or 150, own.skip)


def measure(part: subjects.Part) -> dict:
    """Return the units, the tested shares, and for each order its passes and what the images' predictions become."""
    model, images = part.model, part.images
    shares = [share for share in SHARES if share >= (LEAST if part.planted is not None else 2 / images[0, ..., 0].size)]
    grafts = attribution.BaselineGrafts(model, images, np.zeros_like(images))
    found: dict = {"units": part.units, "shares": shares, "orders": {}}
    for name, (passes, order) in orders(grafts, model, images).items():
        row: dict = {"passes": passes}
        for side in ("insertion", "deletion"):
            results = []
            for share in shares:
                chosen = rivals.first(order, share)
                results.append(
                    rivals.outcomes(model, images, grafts.predicted, chosen if side == "insertion" else ~chosen)
                )
            row[side] = np.round([probability for probability, _ in results], 4).T.tolist()
            row[f"{side}_kept"] = np.array([kept for _, kept in results]).T.tolist()
        if part.planted is not None:
            pairs = zip(order.sum(-1), part.planted, strict=True)
            row["AP"] = [recovery(scores, cue).average_precision for scores, cue in pairs]
        found["orders"][name] = row
    return found


def orders(grafts: attribution.BaselineGrafts, model, images: np.ndarray) -> dict[str, tuple[int, np.ndarray]]:
    """Return the passes an image and the scores of each method; FreqRISE has 1,000 masks on small planes too."""
    budget = 3 * (STEPS + REFINEMENTS)
    plane, labels, is_large = grafts.plane, grafts.predicted, min(grafts.plane) > LARGE
    alone = integrated_gradients(grafts, STEPS)
    found = {
        OURS: (budget, attribution.refine(grafts, alone, REFINEMENTS)[..., None]),
        f"integrated gradients, {STEPS} points": (3 * STEPS, alone[..., None]),
        f"integrated gradients, {budget // 3} points": (budget, integrated_gradients(grafts, budget // 3)[..., None]),
    }
    steps = FFC_STEPS[:1] if is_large else FFC_STEPS
    for count, scores in zip(steps, rivals.ffc(model, images, labels, steps), strict=True):
        found[f"FFC, steps: {count}"] = 3 * count, scores
    for masks, cells in [(budget, 8)] if is_large else [(budget, 8), (1000, 16)]:
        drawn = rivals.draw_masks(plane, masks, cells, seed=0)
        found[f"FreqRISE, masks: {masks}"] = masks, rivals.freqrise(model, images, labels, drawn)
    found["energy"] = 0, rivals.energy(images)
    found["random"] = 0, np.random.default_rng(0).random((len(images), *plane, 1))
    return found


def integrated_gradients(grafts: attribution.BaselineGrafts, points: int) -> np.ndarray:
    """Return the scores of `fsjax.attribute`, which are integrated gradients in the Fourier domain."""
    whole = np.ones((len(grafts.images), *grafts.plane), np.float32)
    return np.mean([grafts.slopes(whole * np.float32((point + 0.5) / points)) for point in range(points)], axis=0)


def table(measured: list[dict]) -> str:
    """Return the table of all parts; every unit counts the same."""
    units = np.concatenate([part["units"] for part in measured])
    names = np.unique(units)
    shares, every = np.array(measured[0]["shares"]), list(measured[0]["orders"])
    weights = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), 2000) / len(names)

    def values(order: str, key: str) -> np.ndarray:
        of_images = np.concatenate([np.array(part["orders"][order][key], float) for part in measured])
        return np.stack([of_images[units == name].mean(0) for name in names])

    def interval(samples: np.ndarray, form: str) -> str:
        low, high = np.quantile(samples, (0.025, 0.975))
        return f"[{form.format(low)}, {form.format(high)}]"

    lines = []
    for order in every:
        cells = [order, str(measured[0]["orders"][order]["passes"])]
        kept, ours = values(order, "insertion_kept"), values(OURS, "insertion_kept")
        for level in (0.8, 0.95):
            cell = f"{100 * smallest(shares, kept.mean(0), level):.2g} %"
            if order != OURS:
                drawn = [[smallest(shares, row, level) for row in weights @ curves] for curves in (kept, ours)]
                cell += " " + interval(np.array(drawn[0]) / drawn[1], "{:.2g}")
            cells.append(cell)
        for key in [key for key in ("insertion", "deletion", "AP") if key in measured[0]["orders"][order]]:
            of_units = values(order, key).reshape(len(names), -1).mean(1)
            cell = f"{of_units.mean():.2f}"
            if order != OURS:
                difference = of_units - values(OURS, key).reshape(len(names), -1).mean(1)
                cell += " " + interval(weights @ difference, "{:.2f}")
            cells.append(cell)
        lines.append(cells)
    titles = ("order", "passes", "80 %", "95 %", "insertion", "deletion", "AP")[: len(lines[0])]
    return f"{len(units)} images, {len(names)} units\n" + markdown.table(titles, lines)


def smallest(shares: np.ndarray, kept: np.ndarray, level: float) -> float:
    """Return the share at which a curve first reaches a level, on a line between log shares; all frequencies keep 1."""
    shares, kept = np.append(shares, 1.0), np.append(kept, 1.0)
    at = int(np.argmax(kept >= level))
    if at == 0:
        return float(shares[0])
    part = (level - kept[at - 1]) / (kept[at] - kept[at - 1])
    return float(shares[at - 1] * (shares[at] / shares[at - 1]) ** part)


def define_flags() -> None:
    flags.DEFINE_string("out", None, "JSONL file of the parts.", required=True)
    flags.DEFINE_list("noise", [], "Seeds of networks trained on noise with cues.")
    flags.DEFINE_list("photographs", [], "Seeds of networks trained on photographs with cues.")
    flags.DEFINE_list("roots", [], "Folders of photographs, as for benchmarks/planted/verdict.py.")
    flags.DEFINE_string("cache", None, "Folder of the trained networks.")
    flags.DEFINE_string("lite0", "", "Folder of photographs, a folder a class, for EfficientNet-Lite0.")
    config_flags.DEFINE_config_file("config", "configs/cifar10_cpu.py", "Config of a classifier.")
    flags.DEFINE_string("workdir", None, "Folder of the classifier.")
    flags.DEFINE_integer("images", 0, "Images of a planted class, or in all; 0 = 12, or 30 and 150.")
    flags.DEFINE_integer("skip", 0, "Drawn test images that are passed over.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
