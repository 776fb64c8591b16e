"""Figures of grafts and verdicts: psi over the share of the plane, TPR against FPR, and radial profiles of the maps."""

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.verdict import CONTROL
from fsjax.fourier import spectrum
from fsjax.report import style
from fsjax.report.axes import colour_bar
from fsjax.report.figures import PANEL
from fsjax.report.kinds import LOOKS
from fsjax.report.style import DOUBLE, SINGLE, SMALL

# Kinds of masks whose psi is drawn: name, line, colour, width. The map comes last, above the others.
_CURVES = {
    "radial": ("random, radial profile", ":", style.GREY, 1.0),
    "energy": ("class energy", "-.", style.GREEN, 0.9),
    "low_pass": ("low-pass", "--", style.VERMILION, 0.9),
    "map": ("map", "-", style.BLUE, 1.5),
}
_TICKS = {0.001: "0.1%", 0.01: "1%", 0.1: "10%", 0.5: "50%"}
# Most classes that are named beside their marker.
_MOST_NAMED = 12


@style.paper
def psi_curves(grafts: Grafts, names: tuple[str, ...], width: int | float = DOUBLE) -> Figure:
    """Draw psi of each class over the share of the plane: of its map, with 95 % interval, and of controls of its size.

    A triangle on the line at 1/2 marks the smallest share at which the map's psi reaches it.
    """
    shares = list(grafts.curve_shares)
    figure, axes, room = style.panels(len(names), width, 5, PANEL, ratio=0.85, sharey=True)
    ticks = {share: words for share, words in _TICKS.items() if shares[0] <= share <= shares[-1]}
    drawn = [grafts.curves[kind].psi[:, : len(axes)] for kind in _CURVES]
    lowest = min(-0.08, float(np.nanmin([0.0, *np.ravel(drawn)])) - 0.03)
    low, high = np.moveaxis(grafts.curves["map"].psi_ci, -1, 0)
    for label, (axis, name) in enumerate(zip(axes, names, strict=False)):
        axis.axhline(CONTROL, color="#bbbbbb", lw=0.6, zorder=0)
        axis.fill_between(shares, low[:, label], high[:, label], color=style.BLUE, alpha=0.18, lw=0)
        for kind, (words, line, colour, thick) in _CURVES.items():
            marker = "o" if len(shares) == 1 else ""
            axis.plot(
                shares,
                grafts.curves[kind].psi[:, label],
                ls=line,
                marker=marker,
                ms=2.5,
                color=colour,
                lw=thick,
                label=words,
            )
        axis.plot(grafts.curves["map"].smallest[label], CONTROL, "v", color=style.BLACK, ms=3.5, label="smallest share")
        axis.set(xscale="log", ylim=(lowest, 1.05), yticks=[0, 0.5, 1])
        axis.set_title(style.fitted(name, room))
        axis.set_xticks(list(ticks), list(ticks.values()))
        axis.minorticks_off()
    handles = {line.get_label(): line for line in axes[0].lines}
    figure.legend(
        handles=[handles[words] for words in [*(words for words, *_ in reversed(_CURVES.values())), "smallest share"]],
        loc="outside upper center",
        ncols=5 if width > SINGLE else 2,
        frameon=False,
        columnspacing=1.2,
    )
    figure.supxlabel("share of the plane grafted")
    figure.supylabel("psi")
    return figure


@style.paper
def published_and_verdict(
    tpr: Float[np.ndarray, " classes"],
    fpr: Float[np.ndarray, " classes"],
    kinds: list[str],
    names: tuple[str, ...],
    share: float,
    threshold: float,
    width: int | float = SINGLE,
) -> Figure:
    """Draw TPR against FPR of every class under its map, its verdict as the marker, and the published threshold."""
    figure = style.empty(min(width, 3.6), 3.1)
    axis = figure.subplots()
    axis.axhline(threshold, color="0.4", lw=0.8, ls=":")
    axis.text(1.02, threshold + 0.015, "published criterion", ha="right", va="bottom", fontsize=SMALL, color="0.3")
    for kind in [kind for kind in LOOKS if kind in kinds]:
        chosen = np.array([of_class == kind for of_class in kinds])
        label = f"{kind or 'no verdict'} ({chosen.sum()})"
        axis.plot(fpr[chosen], tpr[chosen], LOOKS[kind].marker, color=LOOKS[kind].colour, ms=5, mew=0, label=label)
    for name, x, y in zip(names, fpr, tpr, strict=True) if len(names) <= _MOST_NAMED else ():
        if np.isfinite([x, y]).all():
            right, low = x > 0.7, y < 0.15
            axis.annotate(
                style.fitted(name, 0.9, SMALL),
                (x, y),
                (-4 if right else 4, 2 if low else -2),
                textcoords="offset points",
                ha="right" if right else "left",
                va="bottom" if low else "top",
                fontsize=SMALL,
            )
    axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="FPR", ylabel="TPR", aspect="equal")
    axis.set_title(f"Under maps of {100 * share:g} % of the plane")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, columnspacing=1.0, handletextpad=0.2)
    return figure


@style.paper
def radial_profiles(
    masks: Bool[np.ndarray, "classes height width"],
    names: tuple[str, ...],
    share: float,
    width: int | float = SINGLE,
) -> Figure:
    """Draw how much of each ring of the plane each class's map keeps: a row for each class, DC on the left."""
    kept, radii = profiles(masks)
    rows = len(names)
    figure = style.empty(width, min(max(0.17 * rows, 0.7), 6.5) + 1.1)
    axis = figure.subplots()
    half = radii[1] / 2 if len(radii) > 1 else 0.5
    image = axis.imshow(
        kept,
        cmap=style.SEQUENTIAL,
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=(-half, radii[-1] + half, rows - 0.5, -0.5),
        interpolation="none",
    )
    step = max(1, int(np.ceil(rows * (SMALL + 1) / (72 * (figure.get_figheight() - 1.1)))))
    axis.set_yticks(range(0, rows, step), [style.fitted(names[at], 0.9, SMALL) for at in range(0, rows, step)])
    axis.set(
        xlabel="radial frequency (cycles/pixel)", xticks=[tick for tick in (0, 0.25, 0.5) if tick <= radii[-1] + half]
    )
    colour_bar(figure, image, [axis], "share of the ring kept", [0, 0.5, 1])
    style.heading(figure, f"Radial profiles of the maps, {100 * share:g} % of the plane")
    return figure


def profiles(
    masks: Bool[np.ndarray, "n height width"],
) -> tuple[Float[np.ndarray, "n rings"], Float[np.ndarray, " rings"]]:
    """Return the share of each ring that masks keep, in [0, 1], and the rings' middle radii in cycles per pixel.

    Rings are as wide as one cycle over the longer side; DC is the first.
    """
    longer = max(masks.shape[1:])
    ring = np.rint(spectrum.radius(*masks.shape[1:]) * longer).astype(int).ravel()
    sizes = np.bincount(ring)
    kept = np.stack([np.bincount(ring, mask.ravel(), len(sizes)) for mask in masks])
    present = sizes > 0
    return kept[:, present] / sizes[present], np.arange(len(sizes))[present] / longer
