"""The command `fsjax cards`: the verdicts on several models side by side, from their cards.

fsjax cards FOLDER
  write FOLDER/report/cards.html: a row for each card.json in the folder and below, as check --card writes it
"""

from absl import flags

from fsjax.report import figures, gate, html, verdict_figures
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def define_flags() -> flags.FlagValues:
    """Return no flags."""
    return flags.FlagValues()


def run(folder: str, _: flags.FlagValues) -> int:
    """Write the page, and return the exit status; raises InputError without cards, and for a damaged card."""
    directory = storage.path(folder)
    found: list[Path] = sorted(directory.rglob("card.json"), key=str)
    cards = {str(file.parent): gate.Card.read(file) for file in found}
    if not cards:
        raise InputError(f"cards: got no card.json in {folder}; expected files of fsjax check --card=NAME/card.json")
    refused = {each.name: False for card in cards.values() for each in card.verdicts}
    refused |= {e.name: True for card in cards.values() for e in card.verdicts if e.kind in gate.REFUSED}
    html.write_page(
        directory,
        "cards",
        models=[(name, card, {each.name: each for each in card.verdicts}) for name, card in cards.items()],
        looks=verdict_figures.LOOKS,
        classes=sorted(refused, key=lambda name: not refused[name])[: figures.MOST_CLASSES],
        all_classes=len(refused),
    )
    print(f"cards: {directory / 'report' / 'cards.html'}")
    return 0
