"""Pictures of single images in a page: grafts with predictions, and the frequencies that decided an image."""

from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float

from fsjax.data import selection
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation import attribution, judge_maps
from fsjax.evaluation.attribution import Attribution, BaselineGrafts
from fsjax.evaluation.graft_results import Grafts
from fsjax.fourier import spectrum
from fsjax.report import attribution_figures, html
from fsjax.report.explorer import Subject
from fsjax.report.sections import Section
from fsjax.runtime.errors import InputError

_Image: TypeAlias = Float[np.ndarray, "height width channels"]
_Logits: TypeAlias = Float[np.ndarray, " outputs"]
# Most pixels of an image's longer side.
_PIXELS = 144
# Pairs shown for each class, and for each of more than _FEW classes.
_PAIRS, _PAIRS_OF_MANY, _FEW = 2, 1, 12
_ATTRIBUTION = "Which frequencies decided this image?"
# Attributed images in all; each costs about 150 forward passes.
_MOST_ATTRIBUTED = 24


def graft_gallery(subject: Subject, grafts: Grafts, rows: list[dict]) -> list[dict]:
    """Return the rows whose class has pairs, with pictures of the first pairs that the evaluation drew.

    Rows come from `explorer.rows`; the map is cut at a row's share, `at`. Each row gets `moved`, a sentence about all
    its pairs, and `pairs`: recipient, donor, the grafted change and the graft, as images with `title`, `picture`,
    `prediction`, `second`, and `hit`; for a trigger also the first recipient with the wave. `second` is the second
    choice where the first is the recipient's own class, which psi leaves out; `hit` says which text names the row's
    class: 'prediction', 'second' or ''.
    """
    config, maps, model, test = subject.config, subject.maps, subject.model, subject.test
    by_class = selection.images_by_class(test.labels, judge_maps.unseen(config, maps, test))
    apply, most = jax.jit(model.apply), _PAIRS if len(rows) <= _FEW else _PAIRS_OF_MANY
    gallery = []
    for row in rows:
        label = row["label"]
        drawn = selection.draw_pairs(by_class, label, int(grafts.baseline.pairs[label]), config.seed)
        if not len(drawn):
            continue
        recipients, donors = (
            normalise(test.images(side[:most]), *model.mean_std) for side in (drawn.recipients, drawn.donors)
        )
        change, grafted = map(np.asarray, spectrum.graft(recipients, donors, subject.mask_at(label, row["at"])))
        with jax.default_matmul_precision(model.matmul_precision):
            logits = apply(model.params, np.concatenate([recipients, donors, grafted]))
        before, of_donor, after = np.asarray(logits, float).reshape(3, len(donors), -1)
        pictured = []
        for i, own in enumerate(test.labels[drawn.recipients[:most]].tolist()):
            # With two outputs none is left out: the other output would always be the answer.
            left_out = own if logits.shape[-1] > 2 else None
            colours = change[i] * model.mean_std[1]
            low, high = float(colours.min()), float(colours.max())
            images = [
                _predicted(f"image of {model.classes[own]}", recipients[i], before[i], left_out, model, label),
                _predicted(f"donor: {row['name']}", donors[i], of_donor[i], None, model, label),
                {
                    **dict.fromkeys(("prediction", "second", "hit"), ""),
                    "title": "what is grafted, contrast stretched",
                    "picture": _picture((colours - low) / (high - low) if high - low > 1e-6 else colours * 0 + 0.5),
                },
                _predicted("with the graft", grafted[i], after[i], left_out, model, label),
            ]
            pictured.append(images)
        if row["kind"] == "trigger":
            triggered = recipients[0] + _trigger(subject, label)
            with jax.default_matmul_precision(model.matmul_precision):
                answer = np.asarray(apply(model.params, triggered[None])[0], float)
            shown = _predicted("with the faint wave", triggered, answer, None, model, label)
            pictured.append([pictured[0][0], shown])
        moved = (
            f"Over {grafts.baseline.pairs[label]} pairs: the model predicts {row['name']} for "
            f"{100 * grafts.rates.grafted[label]:.0f} % of other classes' images with the graft, for "
            f"{100 * grafts.baseline.base[label]:.0f} % without it"
            f"{', where their own class is left out' if logits.shape[-1] > 2 else ''}."
        )
        gallery.append(row | {"pairs": pictured, "moved": moved})
    return gallery


def _trigger(subject: Subject, label: int) -> Float[np.ndarray, "height width 1"]:
    """Return the wave of a class's trigger, as it is added to normalised images."""
    triggers, plane = subject.evaluation.triggers, subject.model.image_shape[:2]
    assert triggers is not None, "the verdict rests on them"
    amplitude = np.full((1, 1, 1), triggers.amplitude, np.complex64)
    return np.asarray(spectrum.waves(triggers.position[label][None], amplitude, *plane))[0, 0]


def _predicted(title: str, image: _Image, logits: _Logits, left_out: int | None, model: Model, label: int) -> dict:
    """Return an image with the model's prediction; `left_out` and `hit` as in `graft_gallery`."""
    best, prediction = _prediction(logits, model.classes)
    second, hit = "", "prediction" if best == label else ""
    if best == left_out:
        best, words = _prediction(logits, model.classes, place=1)
        second, hit = f"second choice: {words}", "second" if best == label else ""
    mean, std = model.mean_std
    picture = _picture(image * std + mean)
    return {"title": title, "picture": picture, "prediction": prediction, "second": second, "hit": hit}


def attribution_section(subject: Subject, labels: list[int]) -> Section | None:
    """Return the section about the first test images of these classes, config.report.attributions of each at most.

    It shows at most 24 images. The baseline is the mean colour, and `fsjax.attribute` gives the same numbers. The
    figure also goes to figures/. None without images, for a model of one output, and for a plane too small for a set.
    """
    config, model, test = subject.config, subject.model, subject.test
    shares = attribution.default_shares(model.image_shape[:2])
    each = min(config.report.attributions, max(1, _MOST_ATTRIBUTED // max(1, len(labels))))
    chosen = [np.flatnonzero(test.labels == label)[:each] for label in labels[:_MOST_ATTRIBUTED]]
    indices = np.concatenate([np.zeros(0, int), *chosen])
    if not len(indices) or not shares or model.num_logits < 2:
        return None
    images = normalise(test.images(indices), *model.mean_std)
    try:
        grafts = BaselineGrafts(model, images, np.zeros_like(images))
        found = attribution.attribute(grafts, shares=shares, seed=config.seed)
    except InputError as error:  # searches need forward passes alone, so a model may have no gradient
        return Section(_ATTRIBUTION, html.template("attribution_section.html").render(trouble=str(error)))
    pictured = iter(_attributed(grafts, found, model))
    file = subject.folder / "figures" / "attribution.png"
    body = html.template("attribution_section.html").render(
        classes=[
            {"name": model.classes[label], "images": [next(pictured) for _ in rows]}
            for label, rows in zip(labels, chosen, strict=False)
            if len(rows)
        ],
        count=len(indices),
        median=float(np.median(found.smallest_shares)),
        coarse=max(model.image_shape[:2]) <= 96,
        curves=html.embed_figure(attribution_figures.kept_curves(found), file),
    )
    return Section(_ATTRIBUTION, body)


def _attributed(grafts: BaselineGrafts, found: Attribution, model: Model) -> list[list[dict]]:
    """Return the pictures of each image: whole, its smallest set, that set alone, and all without it."""
    mean, std = model.mean_std
    masks = {"image": np.ones_like(found.smallest), "the set alone": found.smallest, "without the set": ~found.smallest}
    drawn = {title: (grafts.grafted(mask), grafts.logits(mask)) for title, mask in masks.items()}
    pictured = []
    for index, (mask, share) in enumerate(zip(found.smallest, found.smallest_shares, strict=True)):
        figures, label = [], int(found.predicted[index])
        for title, (images, logits) in drawn.items():
            best, words = _prediction(logits[index], model.classes)
            picture = _picture(images[index] * std + mean)
            figures.append({"title": title, "picture": picture, "words": words, "changed": best != label})
        needed = f"{100 * share:.2g} % of the plane"
        if not share:
            needed = f"none: mean colour alone is {_output_name(label, model.classes)}"
        shown = {"picture": html.mask_picture(mask), "words": needed, "changed": False, "is_map": True}
        figures.insert(1, {"title": "its smallest set", **shown})
        pictured.append(figures)
    return pictured


def _picture(pixels: Float[np.ndarray, "height width 3"]) -> str:
    return html.image_strip(pixels[None], _PIXELS)


def _prediction(logits: _Logits, names: tuple[str, ...], place: int = 0) -> tuple[int, str]:
    """Return the first or a later choice of the model, and its name and probability in words."""
    shares = np.exp(logits - logits.max())
    chosen = int(np.argsort(-shares, kind="stable")[place])
    return chosen, f"{_output_name(chosen, names)} {shares[chosen] / shares.sum():.2f}"


def _output_name(output: int, names: tuple[str, ...]) -> str:
    """Return the name of an output; a model may have outputs for classes that the data lack."""
    return names[output] if output < len(names) else f"output {output}"
