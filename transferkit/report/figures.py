"""The figures of a run folder: values in, a `matplotlib.figure.Figure` out; the caller saves it.

Class names, phase names and captions are somebody's own text: any character may be in them, at any length.
"""

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib import colormaps, cycler
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from transferkit.evaluate.metrics import RocCurve
from transferkit.report.text import NO_GLYPH, families, shown

# Okabe and Ito 2008, "Color Universal Design", without black and the yellow that is faint on white.
# https://jfly.uni-koeln.de/color/
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_LINES = cycler(linestyle=("-", "--")) * cycler(color=(_BLUE, _ORANGE, _GREEN, "#CC79A7", "#56B4E9", "#E69F00"))

_MAX_PRINTED_CLASSES = 20  # counts are printed in the cells up to here
_MAX_NAMED_CLASSES = 60  # every class has its name at the axes up to here
_MAX_NAMED_CURVES, _NUM_WORST_CURVES = 10, 5
_MIN_ZOOMED_AREA = 0.9  # all curves hug the corner: it is drawn larger where with such areas none can pass
_MAX_MARKED_EPOCHS = 40  # more points than that run into each other


def plot_curves(
    *,
    epochs: Sequence[int],
    phases: Sequence[str],
    learning_rates: Sequence[float],
    train_loss: Sequence[float | None],
    validation_loss: Sequence[float | None],
    train_accuracy: Sequence[float | None],
    validation_accuracy: Sequence[float | None],
    best_epoch: int | None = None,
) -> Figure:
    """Loss, accuracy and learning rate over the epochs, with the phases behind them.

    Args:
        epochs: `(num_epochs,)`, rising, as people count: from 1. All other sequences are as long.
        phases: name of each epoch's phase; a new phase begins where the name changes.
        learning_rates: of each epoch, in the output-side stage.
        train_loss, validation_loss: `None` (or not finite) where there is none; so for accuracies, fractions 0–1.
        best_epoch: one of `epochs`, marked in every panel.

    Raises:
        ValueError: no epoch, or sequences of different lengths.
    """
    columns = (phases, learning_rates, train_loss, validation_loss, train_accuracy, validation_accuracy)
    if not len(epochs) or any(len(column) != len(epochs) for column in columns):
        raise ValueError(f"{len(epochs)} epochs and columns of {[len(column) for column in columns]} rows")
    spans = _spans(epochs, phases)
    figure = Figure(figsize=(8, 8), layout="constrained")
    marker = "o" if len(epochs) <= _MAX_MARKED_EPOCHS else ""
    loss, accuracy, rate = panels = figure.subplots(3, sharex=True, height_ratios=(3, 3, 2))
    for axes, name, train, validation in (
        (loss, "loss", train_loss, validation_loss),
        (accuracy, "accuracy", train_accuracy, validation_accuracy),
    ):
        axes.set_ylabel(name)
        _draw_line(axes, epochs, train, color=_BLUE, marker=marker, label="train")
        _draw_line(axes, epochs, validation, color=_ORANGE, marker=marker, label="validation")
    for _, left, right in spans:  # apart, since a phase's first rate has nothing to do with the last one before it
        inside = [row for row in zip(epochs, learning_rates, strict=True) if left < row[0] < right]
        _draw_line(rate, *zip(*inside, strict=True), color="0.25", marker=marker)
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    low, high = accuracy.get_ylim()
    accuracy.set_ylim(max(low, -0.02), min(high, 1.02))
    rate.set(ylabel="learning rate", xlabel="epoch", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
    rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    positive = [each for each in learning_rates if each > 0]
    if positive and max(positive) >= 10 * min(positive):
        rate.set_yscale("log")
    _draw_phases(panels, spans)
    for axes in panels:
        if best_epoch is not None:
            axes.axvline(best_epoch, color=_GREEN, linewidth=1.6, linestyle=":", label=f"best epoch: {best_epoch}")
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
    loss.legend(handles=loss.get_legend_handles_labels()[0], framealpha=0.9, edgecolor="0.85", fontsize=9)
    return figure


def plot_confusion(matrix: np.ndarray | Sequence[Sequence[int]], class_names: Sequence[str]) -> Figure:
    """Confusion matrix: colours are shares of each true class, figures in the cells are counts.

    Args:
        matrix: `(num_classes, num_classes)` counts; rows are true classes, columns predicted ones.
            With more than 20 classes the counts are left out, with more than 60 most names.
    """
    matrix = np.asarray(matrix)
    num_classes = len(class_names)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(matrix / totals.clip(min=1), mask=np.broadcast_to(totals == 0, matrix.shape))

    step = 1 if num_classes <= _MAX_NAMED_CLASSES else math.ceil(num_classes / 50)
    named = range(0, num_classes, step)
    names = [shown(class_names[label]) for label in named]
    names = [f"{label}: {name}" if NO_GLYPH in name else name for label, name in zip(named, names, strict=True)]
    few = num_classes <= _MAX_PRINTED_CLASSES
    side_in = max(3.2, 0.45 * num_classes) if few else min(max(9, 0.2 * num_classes), 12)
    room_in = 0.09 * max(map(len, names))
    figure = Figure(figsize=(side_in + room_in + 1.6, side_in + room_in * 0.8 + 0.8), layout="compressed")
    axes = figure.subplots()
    # Without printed counts even one picture among hundreds must be seen: only a share of exactly 0 is white.
    blues = ListedColormap(colormaps["Blues"](np.linspace(0 if few else 0.15, 1, 256)))
    blues = blues.with_extremes(under="white", bad="0.88")
    image = axes.imshow(shares, vmin=1e-9, vmax=1, cmap=blues, interpolation="nearest")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class" if step == 1 else f"true class (one in {step} is named)")
    if shares.mask.any():
        axes.set_xlabel("predicted class\n(grey rows: classes without a picture in this split)")
    text_style = {"fontfamily": families(), "fontsize": 9 if few else 8}
    slant = {"rotation": 45, "va": "top"} if few else {"rotation": 90, "va": "center"}
    axes.set_xticks(named, names, ha="right", rotation_mode="anchor", **slant, **text_style)
    axes.set_yticks(named, names, **text_style)
    if num_classes <= _MAX_NAMED_CLASSES:
        edges = np.arange(num_classes + 1) - 0.5
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor", color="0.9", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
    if few:
        _print_counts(axes, matrix, shares.filled(0), cell_in=side_in / num_classes)
    colour_axes = axes.inset_axes((1 + 0.12 / side_in, 0, 0.18 / side_in, 1))
    ticks = np.linspace(1e-9, 1, 6)
    figure.colorbar(image, cax=colour_axes, label="share of true class", ticks=ticks, format=PercentFormatter(1, 0))
    return figure


def plot_roc(curves: Sequence[RocCurve]) -> Figure:
    """Each class against the rest, the worst first; with more than ten classes their mean, range and the five worst."""
    figure = Figure(figsize=(8.5, 5.5), layout="compressed")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=(0, (1, 2)), linewidth=1.2, label="guessing, AUC 0.500")
    if not curves:
        axes.text(0.5, 0.5, "not defined:\nall pictures of this split are of one class", ha="center", va="center")
    drawn = sorted(curves, key=lambda curve: curve.auc)
    panels = [axes]
    if drawn and drawn[0].auc >= _MIN_ZOOMED_AREA:
        panels.append(axes.inset_axes((0.38, 0.08, 0.58, 0.58), xlim=(-0.004, 0.2), ylim=(0.8, 1.004)))
        panels[1].set(xticks=(0, 0.1, 0.2), yticks=(0.8, 0.9, 1))
        axes.indicate_inset_zoom(panels[1], edgecolor="0.3")
    if len(curves) > _MAX_NAMED_CURVES:
        drawn = drawn[:_NUM_WORST_CURVES]
        _draw_mean_curve(panels, curves)
    for panel in panels:
        panel.set_prop_cycle(_LINES)
        for curve in drawn:
            label = f"{shown(curve.name)}, AUC {curve.auc:.3f}"
            panel.plot(curve.false_positive_rate, curve.true_positive_rate, linewidth=1.6, label=label)
        panel.grid(color="0.92")
        panel.set_axisbelow(True)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, prop={"family": families(), "size": 9})
    return figure


def plot_samples(
    images: np.ndarray, *, captions: Sequence[str], column_titles: Sequence[str] = (), title: str = ""
) -> Figure:
    """Pictures as the model sees them: a row for each picture with its random draws, or a plain grid.

    Args:
        images: `(num_images, num_columns, height, width, 3)`, values 0–255 (others are clipped); the columns are
            the same picture without and with augmentation. One column is laid out as a grid.
        captions: one for each picture.
        column_titles: one for each column, or none; a grid has no place for them.

    Raises:
        ValueError: no picture, or texts of another number.
    """
    num_images, num_columns, height, width, _ = images.shape
    if not images.size or len(captions) != num_images or len(column_titles) not in (0, num_columns):
        raise ValueError(f"{images.shape=} with {len(captions)} captions and {len(column_titles)} column titles")
    pixels = np.clip(np.asarray(images, dtype=np.float32), 0, 255).round().astype(np.uint8)
    is_grid = num_columns == 1
    across = math.ceil(math.sqrt(num_images)) if is_grid else num_columns
    down = math.ceil(num_images * num_columns / across)
    cell_in = 1.7
    width_in = max(4.0, cell_in * across + (0 if is_grid else 1.2))
    height_in = (cell_in * height / width + 0.3 * is_grid) * down + 0.5
    figure = Figure(figsize=(width_in, height_in), layout="compressed")
    panels = figure.subplots(down, across, squeeze=False)
    text_style = {"fontfamily": families(), "fontsize": 8}
    for axes in panels.flat:
        axes.set(xticks=(), yticks=())
        axes.spines[:].set_visible(False)
    for axes, picture in zip(panels.flat, pixels.reshape(-1, height, width, 3), strict=False):
        axes.imshow(picture)
    for axes, text in zip(panels.flat, captions if is_grid else column_titles, strict=False):
        axes.set_title(shown(text, max_chars=20), **text_style)
    for axes, caption in zip(panels[:, 0], () if is_grid else captions, strict=False):
        axes.set_ylabel(shown(caption), rotation=0, ha="right", va="center", **text_style)
    if title:
        figure.suptitle(shown(title, max_chars=int(width_in / 0.1)), fontfamily=families(), fontsize=11)
    return figure


def _draw_line(axes: Axes, epochs: Sequence[int], values: Sequence[float | None], **style: str) -> None:
    """A line with a gap wherever there is no finite number; nothing at all where there is none."""
    numbers = np.array(values, dtype=np.float64)
    if (finite := np.isfinite(numbers)).any():
        style["marker"] = "o" if finite.sum() == 1 else style["marker"]  # a single point makes no line
        axes.plot(epochs, np.where(finite, numbers, np.nan), markersize=3.5, linewidth=1.6, **style)


def _spans(epochs: Sequence[int], phases: Sequence[str]) -> list[tuple[str, float, float]]:
    """Name, left and right edge of each phase on the axis of epochs; an edge lies half an epoch beside its epoch."""
    spans: list[tuple[str, float, float]] = []
    for name, rows in groupby(zip(phases, epochs, strict=True), key=lambda row: row[0]):
        members = [epoch for _, epoch in rows]
        spans.append((shown(name), members[0] - 0.5, members[-1] + 0.5))
    return spans


def _draw_phases(panels: Sequence[Axes], spans: Sequence[tuple[str, float, float]]) -> None:
    """A line where a phase begins, every second phase on grey, and the names above the first panel."""
    for number, (_, left, right) in enumerate(spans):
        for axes in panels:
            if number:
                axes.axvline(left, color="0.55", linewidth=0.9, linestyle="--")
            if number % 2:
                axes.axvspan(left, right, color="0.955", linewidth=0)

    epoch_in = 7 / (spans[-1][2] - spans[0][1])  # the panels are about seven inches wide
    flat = all(0.085 * len(name) <= (right - left) * epoch_in for name, left, right in spans)
    last_in = -math.inf
    for name, left, right in spans:
        centre = (left + right) / 2
        if centre * epoch_in - last_in < 0.25:  # no room for a slanted name so near to the one before
            continue
        last_in = centre * epoch_in
        panels[0].annotate(
            name,
            (centre, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            rotation=0 if flat else 40,
            rotation_mode="anchor",
            ha="center" if flat else "left",
            va="bottom",
            fontfamily=families(),
            fontsize=9,
        )


def _print_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray, *, cell_in: float) -> None:
    """Each count in its cell, as large as the longest of them allows."""
    digits = len(str(matrix.max()))
    size = min(11, 0.85 * cell_in * 72 / (0.65 * digits))
    for (row, column), count in np.ndenumerate(matrix):
        colour = "0.5" if count == 0 else "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=size, in_layout=False)


def _draw_mean_curve(panels: Sequence[Axes], curves: Sequence[RocCurve]) -> None:
    """Mean over the classes of the true positive rate at each false positive rate, and the range it is drawn from."""
    grid = np.linspace(0, 1, 1001)
    heights = np.stack([np.interp(grid, curve.false_positive_rate, curve.true_positive_rate) for curve in curves])
    label = f"mean of {len(curves)} classes, AUC {np.mean([curve.auc for curve in curves]):.3f}"
    for axes in panels:
        axes.fill_between(grid, heights.min(axis=0), heights.max(axis=0), color="0.88", label="range of all classes")
        axes.plot((0, *grid), (0, *heights.mean(axis=0)), color="black", linewidth=2.2, label=label)
