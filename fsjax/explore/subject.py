"""Answers of the live page about one model and its test images: pure functions of a request."""

import dataclasses
import functools
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Bool, Float, PyTree
from matplotlib.colors import Normalize
from PIL import Image

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.engine.programs import at_precision
from fsjax.evaluation import attribution
from fsjax.explore import edits
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.report import html
from fsjax.runtime.config_fields import check_number
from fsjax.runtime.errors import InputError
from fsjax.search import mask_at

Pictures: TypeAlias = Float[np.ndarray, "n height width 3"]
# Other images that every edit is tried on, in groups that delay the next stroke little.
OTHERS, GROUP = 32, 4
# Pixels of the longer side of their pictures.
_THUMBNAIL = 96
_PAIR = ("recipient", "donor")
_LINES = """import fsjax, jax, numpy as np
from fsjax.data.normalisation import normalise
from fsjax.explore import edits
from fsjax.report import html
{lines}
model, test = html.displayable(result.model, result.test)
image = normalise({recipient}, *model.mean_std)
donor = normalise({donor}, *model.mean_std)
mask = edits.read_mask("{mask}", model.image_shape[:2])
edited = edits.edit("{operation}", image, donor, mask, np.array({amplitude}))
print(jax.nn.softmax(model(np.concatenate([image, edited]))))
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model and images of `html.displayable`, its maps, and the Python lines that name the result `result`."""

    model: Model
    test: Dataset
    maps: DominantFrequencyMaps
    title: str
    lines: str

    def state(self) -> dict[str, Any]:
        """Return the facts that the page has from the beginning."""
        return {
            "sides": self.model.image_shape[:2],
            "classes": self.maps.classes,
            "outputs": self._outputs,
            "counts": np.bincount(self.test.labels, minlength=len(self.maps.classes)).tolist(),
            "operations": edits.OPERATIONS,
            "take_a_donor": edits.TAKE_A_DONOR,
            "groups": OTHERS // GROUP,
            "patch": self.maps.provenance.get(WHOLE_PATCHES, 1),
            "share": max(self.maps.shares),
        }

    def image(self, request: dict) -> dict[str, Any]:
        """Return a picture, its log amplitudes on the plane, and the model's prediction."""
        image, _ = self._open(request.get("image"))
        amplitudes = np.log1p(np.asarray(spectrum.amplitude(jnp.asarray(image)))[0].mean(-1))
        plane = html.plane_picture(amplitudes, Normalize(0, max(float(amplitudes.max()), 1e-6)))
        predicted = int(self._logits(image).argmax())
        return {"picture": _picture(self._levels(image)[0]), "plane": plane, "predicted": predicted}

    def answer(self, request: dict) -> dict[str, Any]:
        """Return the edited image, its difference, and the probabilities before and after."""
        edit = self._edit(request)
        edited, after = self._edited(edit, edit.recipient, edit.donor)
        before, levels = self._logits(edit.recipient), self._levels(edited)[0]
        change = levels - self._levels(edit.recipient)[0]
        gain = 127 / max(float(np.abs(change).max()), 1.0)
        return {
            "picture": _picture(levels),
            "clipped": float(((levels < -0.5) | (levels > 255.5)).mean()),
            "difference": _picture(128 + gain * change),
            "gain": gain,
            "mask": edits.write_mask(edit.mask),
            "positions": int(edit.mask.sum()),
            "before": _probabilities(before),
            "after": _probabilities(after),
            "target": self._target(edit, after),
        }

    def others(self, request: dict) -> dict[str, Any]:
        """Return what the same edit does to one group of the other images, as pictures and predicted classes."""
        edit, group, target = self._edit(request), request.get("group", 0), request.get("target", -1)
        check_number("group", group, f"[0, {OTHERS // GROUP - 1}]", whole=True)
        check_number("target", target, f"[0, {len(self._outputs) - 1}]", whole=True)
        # Images of other classes than the target, always the same.
        order = np.random.default_rng(0).permutation(len(self.test))
        usable = order[(self.test.labels[order] != target) & ~np.isin(order, edit.indices)]
        rows = usable[:OTHERS][group * GROUP :][:GROUP].tolist()
        if not rows:
            return {"images": []}
        # A group with fewer images has the same shape, so the same program serves it.
        images = normalise(self.test.images(np.resize(rows, GROUP)), *self.model.mean_std)
        edited, after = self._edited(edit, images, np.broadcast_to(edit.donor, images.shape))
        if not self._predicted.keys() >= set(rows):
            self._predicted.update(zip(rows, self._logits(images).argmax(1).tolist(), strict=False))
        pictures = [_picture(levels, _THUMBNAIL) for levels in self._levels(edited)[: len(rows)]]
        each = zip(pictures, map(self._predicted.get, rows), after.argmax(1).tolist(), strict=False)
        return {"images": [{"picture": picture, "before": was, "after": now} for picture, was, now in each]}

    def attribute(self, request: dict) -> dict[str, Any]:
        """Return the fewest frequencies that keep the prediction for an image, as `fsjax.attribute` finds them."""
        image, _ = self._open(request.get("recipient"))
        found = attribution.attribute(attribution.BaselineGrafts(self.model, image, np.zeros_like(image)))
        return {"mask": edits.write_mask(found.smallest[0]), "predicted": int(found.predicted[0])}

    def python(self, request: dict) -> dict[str, str]:
        """Return Python lines that reproduce `answer`."""
        edit = self._edit(request)
        dropped = 'edits.read_image("{}", model.image_shape)[None]'
        images = {
            who: f"test.images([{index}])" if index >= 0 else dropped.format(request[who]["file"])
            for who, index in zip(_PAIR, edit.indices, strict=True)
        }
        given = {"mask": edits.write_mask(edit.mask), "amplitude": edit.amplitude.tolist()}
        return {"lines": _LINES.format(lines=self.lines, operation=request["operation"], **images, **given)}

    def _edit(self, request: dict) -> "_Edit":
        """Return a checked request."""
        (recipient, index), (donor, of_donor) = (self._open(request.get(who)) for who in _PAIR)
        operation, levels = str(request.get("operation")), request.get("amplitude", 0)
        check_number("amplitude", levels, "[0, 255]")
        amplitude = (levels / (255 * np.asarray(self.model.mean_std[1]))).astype(np.float32)
        if (chosen := request.get("map")) is None:
            mask = edits.read_mask(request.get("mask", ""), self.model.image_shape[:2])
        else:
            label, share = chosen if isinstance(chosen, list) and len(chosen) == 2 else (chosen, 0)
            check_number("map", label, f"[0, {len(self.maps.classes) - 1}]", whole=True)
            check_number("share", share, "(0, 1]")
            mask = mask_at(self.maps, label, share)
        return _Edit(edits.number(operation), recipient, donor, mask, amplitude, (index, of_donor))

    def _open(self, spec: Any) -> tuple[Pictures, int]:
        """Return one normalised image and its index in the test images; -1 for a dropped image."""
        if not isinstance(spec, dict) or set(spec) not in ({"file"}, {"class", "nth"}):
            raise InputError(f"image: got {str(spec)[:40]}; expected a class and a number, or a file")
        if "file" in spec:
            return normalise(edits.read_image(spec["file"], self.model.image_shape)[None], *self.model.mean_std), -1
        check_number("class", spec["class"], f"[0, {len(self.maps.classes) - 1}]", whole=True)
        rows = np.flatnonzero(self.test.labels == spec["class"])
        check_number("nth", spec["nth"], f"[0, {len(rows) - 1}]", whole=True)
        index = int(rows[spec["nth"]])
        return normalise(self.test.images([index]), *self.model.mean_std), index

    def _target(self, edit: "_Edit", after: np.ndarray) -> int:
        """Return the class that an edit aims at: the donor's, or the model's new prediction."""
        if edit.operation >= len(edits.TAKE_A_DONOR):
            return int(after.argmax())
        index = edit.indices[1]
        return int(self._logits(edit.donor).argmax() if index < 0 else self.test.labels[index])

    @functools.cached_property
    def _outputs(self) -> list[str]:
        return [self.model.output_name(output) for output in range(self.model.num_logits)]  # traces the model

    @functools.cached_property
    def _predicted(self) -> dict[int, int]:
        """Predictions for other images as they are, by index, as far as asked for: all strokes share them."""
        return {}

    def _levels(self, images: Pictures) -> Pictures:
        mean, std = self.model.mean_std
        return 255 * (images * std + mean)

    @functools.cached_property
    def _program(self) -> Any:
        def edited(params: PyTree, *edit: Any) -> Any:
            images = edits.edit(*edit)
            return images, self.model.apply(params, images)

        return jax.jit(at_precision(self.model.matmul_precision, edited))

    def _edited(self, edit: "_Edit", images: np.ndarray, donors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images edited alike, and their logits. Only two numbers of images occur: one program each."""
        edited, logits = self._program(self.model.params, edit.operation, images, donors, edit.mask, edit.amplitude)
        return np.asarray(edited), np.asarray(logits, np.float32)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images as they are: of an edit at no frequency, by the same program."""
        nothing = np.zeros(self.model.image_shape[:2], bool)
        unedited = _Edit(np.int32(0), images, images, nothing, np.zeros(3, np.float32), (-1, -1))
        return self._edited(unedited, images, images)[1]


class _Edit(NamedTuple):
    """A checked request; `amplitude` is in normalised units per channel, `indices` are -1 for dropped images."""

    operation: np.int32
    recipient: Pictures
    donor: Pictures
    mask: Bool[np.ndarray, "height width"]
    amplitude: Float[np.ndarray, "3"]
    indices: tuple[int, int]


def _probabilities(logits: Float[np.ndarray, "one outputs"]) -> list[float]:
    return np.asarray(scipy.special.softmax(logits[0].astype(float))).round(5).tolist()


def _picture(levels: Float[np.ndarray, "height width 3"], most: int = 2**16) -> str:
    """Return a picture of grey levels, made smaller where its longer side has more pixels than `most`."""
    picture = Image.fromarray(np.rint(np.clip(levels, 0, 255)).astype(np.uint8))
    picture.thumbnail((most, most))
    return html.lossless(picture)
