"""Figures of maps, scores and filtered images; every function returns a matplotlib Figure."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.patches
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colour-blind safe, and readable in grey.
SCORES, KEPT, PLANTED = "cividis", "#0b3c6f", "#d55e00"
ONE_SIDE = (PLANTED, "#56b4e9")
# Classes that a figure draws at most; what is beside it has them all.
MOST_CLASSES = 40
# Names are of strangers' folders: a $ in one is no formula.
plt.rcParams |= {
    "text.parse_math": False,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.grid": False,
}


def map_grid(
    masks: Bool[np.ndarray, "classes height width"], names: tuple[str, ...], share: float, columns: int = 5
) -> Figure:
    """The mask of each class: kept frequencies dark, DC in the middle, axes in cycles per pixel."""
    figure, axes = _grid(len(masks), columns)
    for axis, mask, name in zip(axes, masks, names, strict=False):
        draw_mask(axis, mask)
        axis.set_title(f"{name} ({mask.sum()})")
    figure.suptitle(f"Dominant frequencies, {100 * share:g} % of the plane (positions kept in brackets)")
    frequency_axes(figure)
    return figure


def score_grid(
    scores: Float[np.ndarray, "classes height width"],
    names: tuple[str, ...],
    title: str,
    columns: int = 5,
) -> Figure:
    """The score of every frequency, each class on its own scale; blank where it is NaN.

    Scores span orders of magnitude and may be negative, so colours are linear near 0 and logarithmic beyond.
    """
    figure, axes = _grid(len(scores), columns, width=2.35)
    for axis, plane, name in zip(axes, scores, names, strict=False):
        largest = max(float(np.abs(np.nan_to_num(plane)).max()), 1e-12)
        norm = matplotlib.colors.SymLogNorm(largest * 1e-2, vmin=-largest, vmax=largest)
        image = axis.imshow(plane, cmap="PuOr_r", norm=norm, extent=plane_extent(plane.shape), interpolation="nearest")
        bar = figure.colorbar(image, ax=axis, shrink=0.8, ticks=[-largest, 0, largest])
        bar.ax.set_yticklabels([f"{-largest:.1e}", "0", f"{largest:.1e}"], fontsize=6)
        axis.set_title(name)
    figure.suptitle(title)
    frequency_axes(figure)
    return figure


def planted_grid(
    found: Bool[np.ndarray, "classes height width"],
    planted: Bool[np.ndarray, "classes height width"],
    titles: list[str],
) -> Figure:
    """Planted orbits (open circles) over the ones found (dark squares)."""
    figure, axes = _grid(len(found), 4, width=2.6)
    for axis, mask, truth, title in zip(axes, found, planted, titles, strict=False):
        draw_mask(axis, mask)
        rows, columns = np.nonzero(truth)
        height, width = mask.shape
        axis.scatter(
            (columns - width // 2) / width, (rows - height // 2) / height, s=28, facecolors="none", edgecolors=PLANTED
        )
        axis.set_title(title)
    frequency_axes(figure)
    return figure


def difference_grid(
    left: Bool[np.ndarray, "classes height width"],
    right: Bool[np.ndarray, "classes height width"],
    titles: list[str],
    columns: int = 5,
) -> Figure:
    """Where two masks of each class differ: frequencies that both keep dark, those of one side in its colour."""
    colours = ["#ffffff", *ONE_SIDE, KEPT]
    figure, axes = _grid(len(left), columns)
    for axis, ours, theirs, title in zip(axes, left, right, titles, strict=False):
        kept = ours + 2 * theirs.astype(int)
        shown = matplotlib.colors.ListedColormap(colours)
        axis.imshow(kept, cmap=shown, vmin=-0.5, vmax=3.5, extent=plane_extent(kept.shape), interpolation="nearest")
        axis.set_title(title)
    names = ("left only", "right only", "both")
    patches = [
        matplotlib.patches.Patch(color=colour, label=name) for colour, name in zip(colours[1:], names, strict=True)
    ]
    figure.legend(handles=patches[2:] + patches[:2], loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    frequency_axes(figure)
    return figure


def adcs_grid(
    adcs: Int[np.ndarray, "classes height width"], names: tuple[str, ...], largest: int, columns: int = 5
) -> Figure:
    """ADCS of each class, all on one scale: from minus to plus the largest that there can be."""
    figure, axes = _grid(len(adcs), columns)
    largest = max(largest, 1)
    for axis, plane, name in zip(axes, adcs, names, strict=False):
        extent = plane_extent(plane.shape)
        image = axis.imshow(plane, cmap="PuOr_r", vmin=-largest, vmax=largest, extent=extent, interpolation="nearest")
        axis.set_title(name)
    bar = figure.colorbar(image, ax=axes, ticks=[-largest, 0, largest], pad=0.02, aspect=30)
    bar.set_label("ADCS (classes with less\nminus classes with more)", fontsize=7)
    figure.suptitle("What the data offer: which classes have most of a frequency")
    frequency_axes(figure)
    return figure


def heat_map(error: Float[np.ndarray, "height width"], title: str) -> Figure:
    """Error rate under the wave of each frequency."""
    figure, axes = _grid(1, 1)
    figure.set_size_inches(4.2, 3.7)
    _draw_error(axes[0], error)
    axes[0].set_title(title)
    _error_bar(figure, axes)
    frequency_axes(figure)
    return figure


def heat_map_grid(
    error: Float[np.ndarray, "classes height width"],
    kept: Bool[np.ndarray, "classes height width"],
    names: tuple[str, ...],
    columns: int = 5,
) -> Figure:
    """Error rate of each class under the wave of each frequency, and below it the map of the class."""
    columns = min(columns, len(names))
    blocks = -(-len(names) // columns)
    figure, axes = _grid(2 * columns * blocks, columns)
    for index, name in enumerate(names):
        block, column = divmod(index, columns)
        above, below = (axes[(2 * block + row) * columns + column] for row in (0, 1))
        _draw_error(above, error[index])
        draw_mask(below, kept[index])
        above.set_title(name)
    for axis in axes:
        if not axis.images:
            axis.set_axis_off()
    _error_bar(figure, axes)
    figure.suptitle("Error rate with one wave added, and below it the dominant frequencies")
    frequency_axes(figure)
    return figure


def samples(
    originals: Shaped[np.ndarray, "images height width 3"],
    filtered: Shaped[np.ndarray, "images height width 3"],
    name: str,
) -> Figure:
    """Images of one class above what its map leaves of them, both in [0, 1]; the filtered ones stretched to be seen."""
    count = len(originals)
    figure, axes = plt.subplots(2, count, figsize=(1.15 * count + 0.4, 2.6), squeeze=False, layout="constrained")
    for column in range(count):
        for row, image in enumerate((originals[column], stretch(filtered[column]))):
            axes[row, column].imshow(np.clip(image, 0, 1), interpolation="nearest")
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
    axes[0, 0].set_ylabel("original")
    axes[1, 0].set_ylabel("filtered")
    figure.suptitle(name)
    return figure


def stretch(image: Shaped[np.ndarray, "height width 3"]) -> Shaped[np.ndarray, "height width 3"]:
    """The image with its values, all channels alike, stretched to [0, 1]; a constant image stays mid-grey."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / (high - low) if high - low > 1e-6 else np.full_like(image, 0.5)


def rates(
    shares: list[float], tpr: list[list[float | None]], fpr: list[list[float | None]], names: tuple[str, ...]
) -> Figure:
    """TPR (line) and FPR (dashes) of each class over the share of the plane that its map keeps."""
    figure, axes = _grid(len(names), 5, width=1.9, image=False)
    tpr, fpr = (np.array(values, float) for values in (tpr, fpr))
    for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
        axis.plot(shares, tpr[:, index], "o-", color=KEPT, ms=3, label="TPR")
        axis.plot(shares, fpr[:, index], "s--", color=PLANTED, ms=3, label="FPR")
        axis.set(title=name, ylim=(-0.03, 1.03), xscale="log")
        axis.set_xticks(shares, [f"{100 * share:g}%" for share in shares], fontsize=6)
        axis.minorticks_off()
    axes[0].legend(fontsize=7)
    figure.suptitle("Test images filtered by each class's map")
    return figure


def _draw_error(axis: Axes, error: Float[np.ndarray, "height width"]) -> None:
    axis.imshow(error, cmap=SCORES, vmin=0, vmax=1, extent=plane_extent(error.shape), interpolation="nearest")


def _error_bar(figure: Figure, axes: list[Axes]) -> None:
    bar = figure.colorbar(axes[0].images[0], ax=axes, ticks=[0, 0.5, 1], pad=0.02, aspect=30)
    bar.set_label("error rate", fontsize=7)


def _grid(count: int, columns: int, width: float = 1.9, image: bool = True) -> tuple[Figure, list]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(width * columns, 3.6), (width * 0.95 if image else width * 0.85) * rows + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.ravel()[count:]:
        axis.set_axis_off()
    return figure, list(axes.ravel())


def draw_mask(axis: Axes, mask: Bool[np.ndarray, "height width"]) -> None:
    """A mask on the plane: kept frequencies dark."""
    extent = plane_extent(mask.shape)
    axis.imshow(~mask, cmap="gray", vmin=-0.15, vmax=1, extent=extent, interpolation="nearest")


def plane_extent(plane: tuple[int, int]) -> tuple[float, float, float, float]:
    """Edges of the plane's pixels in cycles per pixel, rows downwards."""
    height, width = plane
    left, top = -(width // 2) - 0.5, -(height // 2) - 0.5
    return left / width, (left + width) / width, (top + height) / height, top / height


def frequency_axes(figure: Figure) -> None:
    """Ticks and labels in cycles per pixel for every image of a figure."""
    for axis in figure.axes:
        if axis.images and axis.get_label() != "<colorbar>":
            axis.set_xticks([-0.5, 0, 0.5], ["-½", "0", "½"])
            axis.set_yticks([-0.5, 0, 0.5], ["-½", "0", "½"])
            axis.tick_params(length=2, labelsize=7)
    figure.supxlabel("horizontal frequency (cycles/pixel)", fontsize=8)
    figure.supylabel("vertical frequency", fontsize=8)
