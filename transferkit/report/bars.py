"""One bar for each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from transferkit.report.text import families, shown

_BLUE, _GREY = "#0072B2", "0.7"
_MAX_BARS = 60


def plot_average_precision(
    class_names: Sequence[str], values: Sequence[float | None], shares: Sequence[float]
) -> Figure:
    """Average precision of each class, the worst first; with more than 60 classes the 60 worst.

    Args:
        values: fractions 0–1; classes with `None` are left out.
        shares: of the pictures that have the class, which is what a random order of them would reach.
    """
    rows = zip(class_names, values, shares, strict=True)
    ranked = sorted((row for row in rows if row[1] is not None), key=lambda row: row[1])
    drawn = ranked[:_MAX_BARS]
    figure = Figure(figsize=(7.5, 1.4 + 0.24 * max(4, len(drawn))), layout="compressed")
    axes = figure.subplots()
    places = np.arange(len(drawn))
    axes.barh(places, [value for _, value, _ in drawn], color=_BLUE, label="average precision")
    axes.barh(places, [share for _, _, share in drawn], height=0.3, color=_GREY, label="of a random order")
    axes.set_yticks(places, [shown(name) for name, _, _ in drawn], fontfamily=families(), fontsize=8)
    axes.set(xlim=(0, 1), ylim=(len(drawn) - 0.4, -0.6))
    axes.set_xlabel("average precision" + (f" ({_MAX_BARS} worst of {len(ranked)} classes)" if ranked != drawn else ""))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    return figure
