"""Which frequencies decided single test images: their smallest sets as pictures, and the curves over all of them."""

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation import attribution
from fsjax.evaluation.attribution import Attribution
from fsjax.evaluation.image_grafts import ImageGrafts
from fsjax.report import attribution_figures, html, pictures
from fsjax.report.prediction import name_of, predicted
from fsjax.report.sections.section import Section
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Most images of all classes together, of which each costs about 150 forward passes.
_MOST = 24
# Images that a device takes at a time: so few fit wherever the model was searched.
_BATCH = 8
# Most pixels of an image's longer side.
_PIXELS = 144


def section(config: ConfigDict, classifier: Model, test: Dataset, labels: list[int], folder: Path) -> Section | None:
    """Return the section about the first test images of these classes, up to config.report.attributions of each.

    There are 24 images in all at most. The baseline is the mean colour, and the numbers are those of `fsjax.attribute`.
    Its figure is also written to folder/figures. None where there is nothing to show: no images, a model of one output,
    or a plane too small for a set of frequencies.
    """
    plane = classifier.image_shape[:2]
    shares = attribution.default_shares(plane)
    each = min(config.report.attributions, max(1, _MOST // max(1, len(labels))))
    of_classes = [np.flatnonzero(test.labels == label)[:each] for label in labels[:_MOST]]
    chosen = np.concatenate([np.zeros(0, int), *of_classes])
    if not len(chosen) or not shares or classifier.num_logits < 2:
        return None
    images = np.asarray(normalise(test.images(chosen), *classifier.mean_std), np.float32)
    try:
        grafts = ImageGrafts(classifier, images, np.zeros_like(images), min(_BATCH, len(images)))
        found = attribution.of_grafts(grafts, shares, seed=config.seed)
    except InputError as error:
        # A search by forward passes alone takes models that have no gradient.
        return _section(trouble=str(error))
    figure = attribution_figures.kept_curves(found)
    shown = _shown(grafts, found, classifier)
    of_images = iter(shown)
    return _section(
        classes=[
            {"name": classifier.classes[label], "images": [next(of_images) for _ in of_class]}
            for label, of_class in zip(labels, of_classes, strict=False)
            if len(of_class)
        ],
        count=len(shown),
        median=float(np.median(found.smallest_shares)),
        coarse=max(plane) <= 96,
        curves=html.embed_figure(figure, folder / "figures" / "attribution.png"),
    )


def _section(**values: object) -> Section:
    body = html.template("attribution_section.html").render({"trouble": "", **values})
    return Section("Which frequencies decided this image?", body)


def _shown(grafts: ImageGrafts, found: Attribution, classifier: Model) -> list[list[dict]]:
    """Return of each image its pictures: whole, its smallest set, that set alone, and all without it."""
    everything = np.ones_like(found.smallest)
    parts = {"image": everything, "the set alone": found.smallest, "without the set": ~found.smallest}
    drawn = {title: (grafts.images_of(part), grafts.logits(part)) for title, part in parts.items()}
    shown = []
    for index, (mask, share) in enumerate(zip(found.smallest, found.smallest_shares, strict=True)):
        of_image, label = [], int(found.predicted[index])
        for title, (images, logits) in drawn.items():
            best, said = predicted(logits[index], classifier.classes)
            of_image.append(_figure(title, _picture(images[index], classifier), said, best != label))
        name = name_of(label, classifier.classes)
        needed = f"{100 * share:.2g} % of the plane" if share else f"none: mean colour alone is {name}"
        of_image.insert(1, _figure("its smallest set", pictures.mask_picture(mask), needed, is_map=True))
        shown.append(of_image)
    return shown


def _figure(title: str, picture: str, said: str, changed: bool = False, is_map: bool = False) -> dict:
    return {"title": title, "picture": picture, "said": said, "changed": changed, "is_map": is_map}


def _picture(image: Float[np.ndarray, "height width channels"], classifier: Model) -> str:
    mean, std = classifier.mean_std
    return pictures.image_strip((image * std + mean)[None], _PIXELS)
