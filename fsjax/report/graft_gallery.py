"""Pictures of grafts: an image of another class, the same with a donor's frequencies, and what the model says."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from fsjax.data import selection
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation import map_grafts
from fsjax.evaluation.graft_results import Grafts
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import pictures
from fsjax.report.explorer import mask_at
from fsjax.report.figures import stretch
from fsjax.report.prediction import predicted

# Most pixels of an image's longer side.
_PIXELS = 144
# Pairs of a class that are shown, and those of each of more than _FEW classes.
_PAIRS, _PAIRS_OF_MANY, _FEW = 2, 1, 12


def gallery(
    config: ConfigDict,
    maps: DominantFrequencyMaps,
    grafts: Grafts,
    classifier: Model,
    test: Dataset,
    rows: list[dict],
) -> list[dict]:
    """Return the rows that have pairs, with pictures of the first of the pairs that the evaluation drew.

    Rows are those of `overview.rows`; the map is that at a row's share, `at`. Each gets `moved`, what grafting did over
    all pairs, and `pairs`: of each shown pair the recipient, the donor, what is grafted, and the graft, as images with
    `title`, `picture`, `said` (the prediction), `otherwise` (that without the recipient's class, where it is counted)
    and `hit` (whether the counted prediction is the row's class).
    """
    by_class = selection.images_by_class(test.labels, map_grafts.unseen(config, maps, test))
    logits_of = jax.jit(classifier.apply)
    most = _PAIRS if len(rows) <= _FEW else _PAIRS_OF_MANY
    shown = []
    for row in rows:
        label, count = row["label"], int(grafts.baseline.pairs[row["label"]])
        drawn = selection.draw_pairs(by_class, label, count, config.seed)
        if not len(drawn):
            continue
        recipients, donors = (
            normalise(test.images(side[:most]), *classifier.mean_std) for side in (drawn.recipients, drawn.donors)
        )
        change, grafted = spectrum.graft(recipients, donors, mask_at(maps, label, row["at"]))
        with jax.default_matmul_precision(classifier.matmul_precision):
            logits = logits_of(classifier.params, jnp.concatenate([recipients, donors, grafted]))
        of_recipient, of_donor, of_graft = np.asarray(logits, float).reshape(3, len(donors), -1)
        of_pairs = []
        for i, recipient in enumerate(test.labels[drawn.recipients[:most]].tolist()):
            # Of two outputs none is left out: the other would always be the answer.
            left_out = recipient if logits.shape[-1] > 2 else None
            of_pair = (
                (f"image of {classifier.classes[recipient]}", recipients[i], of_recipient[i], left_out),
                (f"donor: {row['name']}", donors[i], of_donor[i], None),
                ("what is grafted, contrast stretched", change[i], None, None),
                ("with the graft", grafted[i], of_graft[i], left_out),
            )
            of_pairs.append(
                [_shown(title, image, said, without, classifier, label) for title, image, said, without in of_pair]
            )
        shown.append(row | {"pairs": of_pairs, "moved": _moved(grafts, label, row["name"], logits.shape[-1])})
    return shown


def _shown(
    title: str,
    image: Float[Array, "height width channels"],
    logits: Float[np.ndarray, " outputs"] | None,
    left_out: int | None,
    classifier: Model,
    label: int,
) -> dict:
    """Return an image with its prediction; one without logits is a change, whose contrast is stretched."""
    mean, std = classifier.mean_std
    pixels, names = np.asarray(image) * std, classifier.classes
    if logits is None:
        return {"title": title, "picture": _picture(stretch(pixels)), "said": "", "otherwise": "", "hit": False}
    best, said = predicted(logits, names)
    otherwise = ""
    if left_out is not None:
        best, beside = predicted(np.where(np.arange(len(logits)) == left_out, -np.inf, logits), names)
        otherwise = f"if not {names[left_out]}: {beside}"
    return {
        "title": title,
        "picture": _picture(pixels + mean),
        "said": said,
        "otherwise": otherwise,
        "hit": best == label,
    }


def _picture(pixels: Float[np.ndarray, "height width 3"]) -> str:
    return pictures.image_strip(pixels[None], _PIXELS)


def _moved(grafts: Grafts, label: int, name: str, outputs: int) -> str:
    grafted, before = grafts.rates.grafted[label], grafts.baseline.base[label]
    own = ", where their own class is left out" if outputs > 2 else ""
    return (
        f"Over {grafts.baseline.pairs[label]} pairs: {100 * grafted:.0f} % of others' images are called {name} with "
        f"the graft, {100 * before:.0f} % without{own}."
    )
