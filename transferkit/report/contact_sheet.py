"""The contact sheet: pictures in rows, what becomes of them in columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from transferkit.report.text import families, shown

_CELL_IN, _GAP_IN, _MARGIN_IN = 1.3, 0.1, 0.15
_LINE_IN: Final = 0.14
_TEXT_IN: Final = _CELL_IN + 0.6 * _GAP_IN
# Sharp enough for small pictures, and no side that viewers would refuse.
_MIN_DPI, _MAX_DPI, _MAX_SIDE_PX = 100, 160, 6000
_MAX_CHARS, _MIN_CHARS = 22, 3
_FRAME: Final = "#D55E00"


@dataclass(frozen=True, slots=True)
class Column:
    """The same pictures once more.

    Args:
        title: what was done to them; a first line and further ones.
        images: `(num_pictures, height, width, 3)`, values 0–255 (others are clipped).
        notes: lines below each picture; or none at all.
        frames: for each picture the part that is framed: left, top, width and height as fractions; or none at all.
    """

    title: tuple[str, ...]
    images: np.ndarray
    notes: Sequence[tuple[str, ...]] = ()
    frames: Sequence[tuple[float, float, float, float]] = ()


def plot_contact_sheet(columns: Sequence[Column], *, captions: Sequence[str], title: Sequence[str]) -> Figure:
    """A row for each picture, with its caption at the left.

    Args:
        captions: one for each picture.
        title: lines above it all.

    Raises:
        ValueError: no picture, or columns of another number of pictures than captions.
    """
    if not captions or not columns or any(len(column.images) != len(captions) for column in columns):
        raise ValueError(f"{len(captions)} captions for columns of {[len(column.images) for column in columns]}")
    note_lines = max((len(note) for column in columns for note in column.notes), default=0)
    row_in = _CELL_IN + _LINE_IN * note_lines + _GAP_IN
    head_in = _MARGIN_IN + _LINE_IN * (1.5 * len(title) + 1 + max(len(column.title) for column in columns))
    height_in = head_in + row_in * len(captions) + _MARGIN_IN

    figure = Figure(dpi=_MIN_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    texts = [_text(axes, 0, 0, caption, size=9, ha="right", va="center") for caption in captions]
    # As wide as the widest caption, which only drawing it tells.
    left_in = max(map(_width_in, texts)) + _MARGIN_IN + 0.1
    width_in = left_in + (_CELL_IN + _GAP_IN) * len(columns) + _MARGIN_IN
    title_texts = [
        _text(axes, _MARGIN_IN, _MARGIN_IN + 1.5 * _LINE_IN * index, line, size=9 if index else 11, max_chars=160)
        for index, line in enumerate(title)
    ]
    width_in = max(width_in, max(map(_width_in, title_texts), default=0) + 2 * _MARGIN_IN)

    for index, column in enumerate(columns):
        _draw_column(axes, column, left_in + (_CELL_IN + _GAP_IN) * index, head_in, row_in)
    for row, text in enumerate(texts):
        text.set_position((left_in - 0.1, head_in + row_in * row + _CELL_IN / 2))
    axes.set(xlim=(0, width_in), ylim=(height_in, 0))
    axes.set_axis_off()
    figure.set_size_inches(width_in, height_in)
    side_px = max(column.images.shape[1] for column in columns)
    figure.set_dpi(min(max(side_px / _CELL_IN, _MIN_DPI), _MAX_DPI, _MAX_SIDE_PX / max(width_in, height_in)))
    return figure


def _draw_column(axes: Axes, column: Column, left_in: float, top_in: float, row_in: float) -> None:
    middle_in = left_in + _CELL_IN / 2
    for index, line in enumerate(reversed(column.title)):
        weight = "bold" if index == len(column.title) - 1 else "normal"
        _text(
            axes,
            middle_in,
            top_in - 0.06 - _LINE_IN * index,
            line,
            fit_in=_TEXT_IN,
            ha="center",
            va="bottom",
            weight=weight,
        )
    pixels = np.clip(np.asarray(column.images, np.float32), 0, 255).round().astype(np.uint8)
    for row, picture in enumerate(pixels):
        above_in = top_in + row_in * row
        axes.imshow(picture, extent=(left_in, left_in + _CELL_IN, above_in + _CELL_IN, above_in), aspect="auto")
        outline = {"fill": False, "linewidth": 0.5, "edgecolor": "0.8"}  # white pictures end somewhere as well
        axes.add_patch(Rectangle((left_in, above_in), _CELL_IN, _CELL_IN, **outline))
        if column.frames:
            left, top, width, height = (_CELL_IN * share for share in column.frames[row])
            frame = {"fill": False, "linewidth": 1.2, "edgecolor": _FRAME}
            axes.add_patch(Rectangle((left_in + left, above_in + top), width, height, **frame))
        for line, note in enumerate(column.notes[row] if column.notes else ()):
            note_in = above_in + _CELL_IN + 0.02 + _LINE_IN * line
            _text(axes, middle_in, note_in, note, size=7, fit_in=_TEXT_IN, ha="center", color="0.35")


def _text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float = 8,
    max_chars: int = _MAX_CHARS,
    fit_in: float | None = None,
    **style: Any,
) -> Text:
    """One line, shortened to so many letters, and further where it is still wider than `fit_in`."""
    style = {"va": "top", "fontsize": size, "fontfamily": families(), **style}
    drawn = axes.text(x, y, shown(text, max_chars=max_chars), **style)
    num_chars = min(max_chars, len(text))
    while fit_in and num_chars > _MIN_CHARS and (width_in := _width_in(drawn)) > fit_in:
        num_chars = max(_MIN_CHARS, min(num_chars - 1, int(num_chars * fit_in / width_in)))
        drawn.set_text(shown(text, max_chars=num_chars))
    return drawn


def _width_in(text: Text) -> float:
    return text.get_window_extent().width / text.figure.dpi
