"""How each kind of verdict looks: a sign, a marker and a colour, so that none is told apart by its colour alone."""

from typing import NamedTuple

from fsjax.report import style


class Look(NamedTuple):
    """Of one kind of verdict.

    Attributes:
      sign: on pages.
      tone: the class of a page's style: 'shortcut', 'controlled' where a map controls the class though it is no
        shortcut, 'spread', or 'open' where nothing was decided about the map.
      marker: in figures, as matplotlib takes it.
      colour: in figures.
    """

    sign: str
    tone: str
    marker: str
    colour: str


LOOKS = {
    "shortcut": Look("\N{BLACK UP-POINTING TRIANGLE}", "shortcut", "^", style.VERMILION),
    "band": Look("\N{BLACK DIAMOND}", "controlled", "D", style.ORANGE),
    "coarse": Look("\N{BLACK SQUARE}", "controlled", "s", style.SKY),
    "by absence": Look("\N{WHITE DOWN-POINTING TRIANGLE}", "controlled", "v", style.PURPLE),
    "default class": Look("\N{BULLSEYE}", "open", "P", style.GREEN),
    "spread": Look("\N{WHITE CIRCLE}", "spread", "o", style.BLUE),
    "not recognised": Look("\N{MULTIPLICATION X}", "open", "X", style.GREY),
    "undecided": Look("?", "open", "*", style.GREY),
    # Of an evaluation without grafts.
    "": Look("\N{EN DASH}", "open", ".", style.BLACK),
}
