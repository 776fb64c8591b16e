"""The command `fsjax check`: a gate for pipelines. Exit status 0: no class is refused, 1: some are, 2: bad input.

fsjax check WORKDIR [--method=METHOD] [FLAGS]
  --allow=CLASS,...    classes that pass whatever their verdict is
  --kinds=KIND,...     kinds of verdicts that are refused; shortcut,trigger if not given
  --max-psi=NUMBER     classes with a psi of at most this pass, but for triggers
  --junit=FILE.xml     write a test case for each class
  --card=FILE.json     write verdicts and SHA-256 of model and test images, and FILE.md for a model card
fsjax check WORKDIR --verify=FILE.json
  compare a card's SHA-256, and judge three of its classes, drawn at random, again
"""

import numpy as np
from absl import flags

import fsjax
from fsjax.evaluation import judge_maps
from fsjax.evaluation.results import Evaluation, read_method
from fsjax.experiment.stage import Workspace
from fsjax.report import answer, gate, page
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

REFUSED = 1
# Classes that --verify judges again.
_VERIFIED = 3


def define_flags() -> flags.FlagValues:
    """Return the command's flags, not parsed yet."""
    values = flags.FlagValues()
    for name in ("method", "junit", "card", "verify"):
        flags.DEFINE_string(name, None, name, flag_values=values)
    flags.DEFINE_list("allow", [], "", flag_values=values)
    flags.DEFINE_list("kinds", list(gate.REFUSED), "", flag_values=values)
    flags.DEFINE_float("max-psi", None, "", flag_values=values)
    return values


def run(workdir: str, values: flags.FlagValues) -> int:
    """Check a workdir, and return the exit status.

    Raises InputError for an unknown class or kind, a workdir without verdicts, and a card of another workdir.
    """
    workspace = Workspace.finished(storage.path(workdir), values.method)
    method = workspace.config.search.method
    evaluation = read_method(workspace.directory / "evaluation.json", method)
    if values.verify:
        return _verify(workspace, evaluation, storage.path(values.verify))
    grafts, share = evaluation.methods[method].grafts, workspace.config.report.share
    verdicts = grafts.verdicts if grafts else ()
    failing = gate.refused(verdicts, values.allow, values.kinds, values["max-psi"].value)
    rows = answer.class_rows(evaluation, method, share)
    headline = answer.headline(evaluation, method, rows, share, workspace.config.evaluate.threshold)
    if values.junit:
        files.write_text(storage.path(values.junit), gate.junit(f"fsjax check {workdir}", verdicts, failing))
    if values.card:
        digests = gate.digests(workspace.classifier, workspace.dataset("test"))
        command, file = page.shell_command(workspace.directory), storage.path(values.card)
        hashes, accuracy = (digests["model"], digests["images"]), evaluation.unfiltered.accuracy
        card = gate.Card(fsjax.__version__, command, *hashes, method, accuracy, headline, verdicts)
        files.write_json(file, card.to_json())
        files.write_text(file.with_suffix(".md"), card.markdown())
    print("\n".join([headline, *(f"refused: {each.sentence}" for each in failing)]))
    print(f"{len(failing)} of {len(verdicts)} classes {'is' if len(failing) == 1 else 'are'} refused.")
    return REFUSED if failing else 0


def _verify(workspace: Workspace, evaluation: Evaluation, file: Path) -> int:
    """Judge some classes of a card again, and return REFUSED where the model, the images or a verdict differ."""
    if not file.is_file():
        raise InputError(f"verify: got {file}, which is no file; expected a card that check --card wrote")
    card, config, test = gate.Card.read(file), workspace.config, workspace.dataset("test")
    names = [each.name for each in card.verdicts]
    if card.method != config.search.method or tuple(names) != evaluation.classes:
        raise InputError(f"{file}: got a card of other maps or classes than {workspace.directory}; expected its own")
    digests = gate.digests(workspace.classifier, test)
    differences = [f"the {name}: another SHA-256" for name in digests if digests[name] != getattr(card, name)]
    labels = np.random.default_rng().permutation(len(names))[:_VERIFIED].tolist()
    usable = judge_maps.unseen(config, workspace.maps, test)
    model = workspace.classifier.at(config.search.precision, config.search.transform)
    again = judge_maps.judge_maps(
        config, model, workspace.maps, test, evaluation.unfiltered, usable, None, evaluation.triggers, labels
    )
    found_again = again.verdicts if again else card.verdicts  # without pairs there is nothing to judge
    for label in labels:
        said, found = card.verdicts[label], found_again[label]
        near = said.psi is None or (found.psi is not None and said.psi_ci[0] <= found.psi <= said.psi_ci[1])
        if said.kind != found.kind or not near:
            differences.append(f"{said.sentence} Found: {found.sentence}")
    for each in differences:
        print(f"differs: {each}")
    print(f"Judged again: {', '.join(names[label] for label in labels)}; {len(differences) or 'no'} differences.")
    return REFUSED if differences else 0
