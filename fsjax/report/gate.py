"""A gate for pipelines: which verdicts it refuses, as JUnit XML, and the card that goes with a model."""

import dataclasses
import xml.etree.ElementTree as xml
from collections.abc import Iterable, Sequence

import numpy as np

from fsjax.data.dataset import Dataset
from fsjax.data.selection import first_of_each_class
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import KINDS, Verdict
from fsjax.evaluation.typed_json import ResultFile
from fsjax.runtime.errors import InputError, check_known, printable
from fsjax.runtime.partial_results import digest

REFUSED = ("shortcut", "trigger")
# Kinds that leave open whether a class has a shortcut.
_OPEN = ("undecided", "not recognised")
# Images of each class that a card's digest reads.
_READ = 20


def refused(
    verdicts: Sequence[Verdict], allow: Iterable[str] = (), kinds: Iterable[str] = REFUSED, max_psi: float | None = None
) -> list[Verdict]:
    """Return the verdicts of these kinds, but for classes that `allow` names and a psi of at most `max_psi`.

    A trigger is refused at any psi, since psi is not about it.

    Raises:
      InputError: no verdicts, an unknown class or kind, or a psi outside [0, 1].
    """
    if not verdicts:
        raise InputError("check: got no verdicts; expected a result of the stage evaluate with evaluate.pairs above 0")
    allow, kinds, names = list(allow), list(kinds), [verdict.name for verdict in verdicts]
    for field, given, known in (("allow", allow, names), ("kinds", kinds, KINDS)):
        for name in given:
            check_known(field, name, known)
    if max_psi is not None and not 0 <= max_psi <= 1:
        raise InputError(f"max-psi: got {max_psi:g}; expected a number in [0, 1]")

    def passes(each: Verdict) -> bool:
        return max_psi is not None and each.kind != "trigger" and each.psi is not None and each.psi <= max_psi

    return [each for each in verdicts if each.kind in kinds and each.name not in allow and not passes(each)]


def junit(title: str, verdicts: Sequence[Verdict], failing: Sequence[Verdict]) -> str:
    """Return JUnit XML with a test case for each class; a class whose verdict leaves it open is skipped."""
    opened = [each for each in verdicts if each.kind in _OPEN and each not in failing]
    counts = {"tests": len(verdicts), "failures": len(failing), "skipped": len(opened)}
    suite = xml.Element("testsuite", {"name": printable(title), **{name: str(n) for name, n in counts.items()}})
    for each in verdicts:
        case = xml.SubElement(suite, "testcase", {"classname": "fsjax", "name": printable(each.name)})
        message = {"message": printable(each.sentence)}
        if each in failing:
            xml.SubElement(case, "failure", {"type": each.kind, **message})
        elif each in opened:
            xml.SubElement(case, "skipped", message)
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


@dataclasses.dataclass(frozen=True)
class Card(ResultFile):
    """The content of card.json: which command judged which model on which images, and the verdicts.

    Attributes:
      fsjax: version.
      model, images: digests of the model's parameters and of the test images, as `digests` makes them.
      accuracy: on the test images, in [0, 1].
    """

    fsjax: str
    command: str
    model: str
    images: str
    method: str
    accuracy: float
    headline: str
    verdicts: tuple[Verdict, ...]

    made_by, version = "fsjax check --card", 2

    def markdown(self) -> str:
        """Return a Markdown section for a model card of the Hugging Face hub."""
        lines = ["## Frequency shortcuts", "", _cell(self.headline), ""]
        lines += ["| class | verdict | psi [95 %] | why |", "| --- | --- | --- | --- |"]
        for each in self.verdicts:
            psi = "" if each.psi is None else "{:.2f} [{:.2f}, {:.2f}]".format(each.psi, *each.psi_ci)
            lines.append(f"| {_cell(each.name)} | {each.words} | {psi} | {_cell(each.reason)} |")
        by = f", by `{self.command}`" if self.command else ""
        lines += ["", "psi is the share of images that follow the frequencies of a class's map when these are grafted."]
        digests = f"SHA-256 of the model {self.model[:12]}, and of the test images {self.images[:12]}."
        return "\n".join([*lines, f"fsjax {self.fsjax} judged{by}. {digests}\n"])


def digests(model: Model, test: Dataset) -> dict[str, str]:
    """Return the SHA-256 of a model's parameters, and of all test labels with the first 20 images of each class."""
    images = test.images(first_of_each_class(test.labels, _READ))
    return {"model": digest(model.params), "images": digest((np.asarray(test.labels, np.int64), images))}


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("<", "&lt;")
