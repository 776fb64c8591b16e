"""Figures of attributions: predictions kept as frequencies enter or leave, and the smallest sets as images."""

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from fsjax.evaluation import statistics
from fsjax.evaluation.attribution import Attribution
from fsjax.fourier import spectrum
from fsjax.report import style
from fsjax.report.style import DOUBLE, SMALL, Inches, draw_mask

_Images: TypeAlias = Float[np.ndarray, "n height width channels"]
# Line and colour of each order.
_LOOKS = {"attribution": ("-", style.BLUE), "energy": ("-.", style.GREEN), "random": (":", style.GREY)}


@style.paper
def kept_curves(found: Attribution, width: Inches = DOUBLE) -> Figure:
    """Draw the share of predictions kept over the share of the plane, by order, with 95 % Wilson intervals.

    Panels: the first frequencies alone (insertion), all other frequencies (deletion), and how many more predictions
    the attribution keeps than each other order, with 95 % intervals of paired differences over images.
    """
    figure, axes, _ = style.panels(3, width, 3, (1.3, 2.3), ratio=0.8)
    shares, images = list(found.shares), len(found.predicted)
    for axis, curves in zip(axes, (found.kept, found.kept_without), strict=False):
        for name, kept in curves.items():
            line, colour = _LOOKS[name]
            low, high = np.moveaxis(statistics.wilson(kept.sum(0), np.full(len(shares), images)), -1, 0)
            axis.fill_between(shares, low, high, color=colour, alpha=0.15, lw=0)
            axis.plot(shares, kept.mean(0), ls=line, color=colour, label=name)
        axis.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    axes[2].axhline(0, color="#bbbbbb", lw=0.6, zorder=0)
    for name in [name for name in found.kept if name != "attribution"]:
        (line, colour), (difference, interval) = _LOOKS[name], found.advantage(name)
        axes[2].fill_between(shares, *interval.T, color=colour, alpha=0.15, lw=0)
        axes[2].plot(shares, difference, ls=line, color=colour)
    for axis, title in zip(axes, ("put in alone", "taken out", "attribution less others"), strict=True):
        axis.set_title(title)
        style.share_ticks(axis, (shares[0], shares[-1]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.supxlabel("share of the plane")
    figure.supylabel("predictions kept")
    return figure


@style.paper
def smallest_sets(
    found: Attribution,
    images: _Images,
    classes: Sequence[str],
    *,
    baselines: _Images | None = None,
    mean_std: tuple[Sequence[float], Sequence[float]] = ((0.0,), (1.0,)),
    most: int = 6,
    width: Inches = DOUBLE,
) -> Figure:
    """Draw images, a row each: whole, the smallest set that keeps its prediction, that set alone, and all without it.

    `found` is the result of `fsjax.attribute` on these images and baselines (None = zeros). `classes` are names in
    index order, `mean_std` normalised the images, per channel of pixels in [0, 1], and `most` is the most rows.
    """
    rows = min(most, len(images))
    images = images[:rows]
    baselines = np.zeros_like(images) if baselines is None else baselines[:rows]
    differences = spectrum.spectra(jnp.asarray(images - baselines))
    parts = np.asarray(spectrum.filter_spectra(differences, jnp.asarray(found.smallest[None, :rows]))[0])
    titles = ("image", "smallest set", "alone", "without it")
    figure, axes, room = style.panels(4 * rows, width, 4, (0.7, 1.4))
    for row in range(rows):
        panels, share = axes[4 * row : 4 * row + 4], found.smallest_shares[row]
        pictures = (images[row], None, baselines[row] + parts[row], images[row] - parts[row])
        for axis, title, picture in zip(panels, titles, pictures, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if picture is None:
                draw_mask(axis, found.smallest[row])
            else:
                pixels = np.clip(picture * np.asarray(mean_std[1]) + np.asarray(mean_std[0]), 0, 1)
                axis.imshow(pixels if pixels.shape[2] == 3 else pixels.mean(2), cmap="gray", vmin=0, vmax=1)
            if row == 0:
                axis.set_title(title)
        panels[0].set_ylabel(style.fitted(classes[int(found.predicted[row])], room, SMALL), fontsize=SMALL)
        panels[1].set_xlabel(f"{100 * share:.2g} % of the plane", fontsize=SMALL)
    return figure
