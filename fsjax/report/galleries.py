"""Pictures of single images in a page: grafts with predictions, and the frequencies that decided an image."""

import functools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import scipy
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
from fsjax.search import mask_at

_Image: TypeAlias = Float[np.ndarray, "height width channels"]
_Logits: TypeAlias = Float[np.ndarray, " outputs"]
# Most pixels of an image's longer side.
_PIXELS = 144
# Pairs of a class that may be shown.
_TRIED = 16
_ATTRIBUTION = "Which frequencies decided this image?"
# Attributed images in all; each costs about 150 forward passes.
_MOST_ATTRIBUTED = 24


def graft_gallery(subject: Subject, grafts: Grafts, rows: list[dict], shares: Sequence[float]) -> list[dict]:
    """Return the rows whose class has pairs, with pictures of a graft that succeeds and of one that fails.

    They are the first ones among the first pairs that the evaluation drew, whose recipients the model does not predict
    as the class. A graft succeeds where the model then does. Where it predicts the recipient's own class, which psi
    leaves out, its second choice counts. Rows come from `explorer.rows`; the map is cut at a row's share, `at`.

    Each row gets `moved`, a sentence about all its pairs, and `pairs`: a dict with `title` and `images`, recipient,
    donor, the grafted change and the graft. An image has `title`, `picture`, `prediction`, `second`, and `hit`: which
    text names the row's class, 'prediction', 'second' or ''. For a trigger, the first recipient without and with the
    wave follow. `answers` are `prediction`, `second` and `hit` with the graft at each of `shares`.
    """
    config, maps, model, test = subject.config, subject.maps, subject.model, subject.test
    by_class = selection.images_by_class(test.labels, judge_maps.unseen(config, maps, test))
    gallery: list[dict] = []
    for row in rows:
        label, count = row["label"], int(grafts.baseline.pairs[row["label"]])
        drawn = selection.draw_pairs(by_class, label, count, config.seed)
        if not len(drawn):
            continue
        recipients, donors = (
            normalise(test.images(side[:_TRIED]), *model.mean_std) for side in (drawn.recipients, drawn.donors)
        )
        own = test.labels[drawn.recipients[:_TRIED]]
        masks = np.stack([mask_at(maps, label, share) for share in [row["at"], *shares]])
        grafted_pairs, empty = BaselineGrafts(model, donors, recipients), np.zeros((len(own), *masks.shape[1:]), bool)
        before, after = grafted_pairs.logits(empty), grafted_pairs.logits(empty | masks[0])
        grafted = grafted_pairs.grafted(empty | masks[0])
        # With two outputs none is left out: the other output would always be the answer.
        left_out = own.tolist() if after.shape[1] > 2 else [-1] * len(own)
        was, captured = (
            np.array([_choices(*pair)[-1][0] == label for pair in zip(logits, left_out, strict=True)])
            for logits in (before, after)
        )
        found = {"A graft that succeeds": captured & ~was, "A graft that fails": ~captured & ~was}
        found = {title: int(those.argmax()) for title, those in found.items() if those.any()}
        shown, pairs = functools.partial(_predicted, model, label), []
        for title, i in found.items():
            under = np.concatenate([np.ones_like(masks[:1]), masks[1:]])
            under = np.resize(under, (max(len(masks), len(own)), *masks.shape[1:]))  # as many as pairs: one program
            of_pair = (np.broadcast_to(side[i], (len(under), *side.shape[1:])) for side in (donors, recipients))
            of_donor, *at_shares = BaselineGrafts(model, *of_pair).logits(under)[: len(masks)]
            images = [
                shown(f"image of {model.classes[own[i]]}", recipients[i], before[i], left_out[i]),
                shown(f"donor: {row['name']}", donors[i], of_donor),
                _stretched((grafted[i] - recipients[i]) * model.mean_std[1]),
                shown("with the graft", grafted[i], after[i], left_out[i]),
            ]
            answers = [_answer(model, label, logits, left_out[i]) for logits in at_shares]
            pairs.append({"title": title, "images": images, "answers": answers})
        if row["kind"] == "trigger":
            waved = recipients + _trigger(subject, label)
            of_waved = BaselineGrafts(model, waved, recipients).logits(~empty)
            images = [
                shown(f"image of {model.classes[own[0]]}", recipients[0], before[0]),
                shown("with the faint wave", waved[0], of_waved[0]),
            ]
            pairs.append({"title": "Its trigger", "images": images, "answers": []})
        moved = (
            f"Over {count} pairs: the model predicts {row['name']} for "
            f"{100 * grafts.rates.grafted[label]:.0f} % of other classes' images with the graft, for "
            f"{100 * grafts.baseline.base[label]:.0f} % without it"
            f"{', where their own class is left out' if after.shape[1] > 2 else ''}."
        )
        if was.all():
            moved += f" It predicts {row['name']} for the first {len(own)} without a graft, too: none is shown."
        elif len(found) < 2:
            moved += f" None of the first {len(own)} {'fails' if captured[~was].all() else 'succeeds'}."
        gallery.append(row | {"pairs": pairs, "moved": moved})
    return gallery


def _trigger(subject: Subject, label: int) -> Float[np.ndarray, "height width 1"]:
    """Return the wave of a class's trigger, as it is added to normalised images."""
    triggers, plane = subject.evaluation.triggers, subject.model.image_shape[:2]
    assert triggers is not None, "the verdict rests on them"
    amplitude = np.full((1, 1, 1), triggers.amplitude, np.complex64)
    return np.asarray(spectrum.waves(triggers.position[label][None], amplitude, *plane))[0, 0]


def _predicted(model: Model, label: int, title: str, image: _Image, logits: _Logits, left_out: int = -1) -> dict:
    """Return an image with the model's prediction; `second` and `hit` as in `graft_gallery`."""
    mean, std = model.mean_std
    return _titled(title, image * std + mean) | _answer(model, label, logits, left_out)


def _answer(model: Model, label: int, logits: _Logits, left_out: int = -1) -> dict[str, str]:
    choices = _choices(logits, left_out)
    words = [_words(choice, model) for choice in choices]
    second = f"second choice: {words[1]}" if len(words) > 1 else ""
    hit = ("second" if second else "prediction") if choices[-1][0] == label else ""
    return {"prediction": words[0], "second": second, "hit": hit}


def _stretched(colours: _Image) -> dict:
    low, high = float(colours.min()), float(colours.max())
    pixels = (colours - low) / (high - low) if high - low > 1e-6 else colours * 0 + 0.5
    return _titled("what is grafted, contrast stretched", pixels)


def _titled(title: str, pixels: _Image) -> dict:
    return {"title": title, "picture": _picture(pixels), "prediction": "", "second": "", "hit": ""}


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
            (choice,) = _choices(logits[index])
            picture, words = _picture(images[index] * std + mean), _words(choice, model)
            figures.append({"title": title, "picture": picture, "words": words, "changed": choice[0] != label})
        needed = f"{100 * share:.2g} % of the plane"
        if not share:
            needed = f"none: mean colour alone is {model.output_name(label)}"
        shown = {"picture": html.mask_picture(mask), "words": needed, "changed": False, "is_map": True}
        figures.insert(1, {"title": "its smallest set", **shown})
        pictured.append(figures)
    return pictured


def _picture(pixels: Float[np.ndarray, "height width 3"]) -> str:
    return html.image_strip(pixels[None], _PIXELS)


def _choices(logits: _Logits, left_out: int = -1) -> list[tuple[int, float]]:
    """Return the output that the model chooses, with its probability, and the second choice if it is `left_out`."""
    shares = scipy.special.softmax(logits)
    first, *others = np.argsort(-shares, kind="stable")[:2].tolist()
    chosen = [first, *others] if first == left_out else [first]
    return [(output, float(shares[output])) for output in chosen]


def _words(choice: tuple[int, float], model: Model) -> str:
    return f"{model.output_name(choice[0])} {choice[1]:.2f}"
