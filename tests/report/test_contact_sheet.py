"""The contact sheet as a figure: everything is on it, and nothing lies over anything else."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from transferkit.report.contact_sheet import Column, plot_contact_sheet

pytestmark = pytest.mark.filterwarnings("error")

ODD = "Tomato___Yellow_Leaf_Curl_Virus " * 5 + "$x_1$ \udcff \U0001f984\n"


def columns_of(num_columns, num_pictures, *, name="rotate", notes=(), size_px=8):
    draw = np.random.default_rng(0)
    return [
        Column(
            (name, "degrees 10"), draw.uniform(-20, 300, (num_pictures, size_px, size_px, 3)), [notes] * num_pictures
        )
        for _ in range(num_columns)
    ]


def boxes(texts):
    return [text.get_window_extent() for text in texts if text.get_text()]


def draw(figure):
    FigureCanvasAgg(figure).draw()
    return figure.axes[0]


@pytest.mark.parametrize(("num_columns", "num_pictures"), [(1, 1), (2, 20), (23, 3)], ids=str)
@pytest.mark.parametrize("name", ["cat", ODD, "W" * 60], ids=["short", "odd", "wide"])
def test_no_text_lies_over_another_or_leaves_the_sheet(num_columns, num_pictures, name):
    columns = columns_of(num_columns, num_pictures, name=name, notes=(f"70% {name}", f"30% {name}"))

    figure = plot_contact_sheet(columns, captions=[name] * num_pictures, title=[f"{name}: pictures", "more about it"])
    found = boxes(draw(figure).texts)

    assert len(found) == 2 + num_pictures + num_columns * (2 + 2 * num_pictures)
    assert not any(one.shrunk(0.99, 0.9).overlaps(other) for one, other in itertools.combinations(found, 2))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in found)


def test_every_picture_is_drawn_in_its_row_and_column():
    columns = columns_of(3, 2)

    images = draw(plot_contact_sheet(columns, captions=["cat", "dog"], title=["t"])).images

    assert len(images) == 6
    for number, image in enumerate(images):
        pixels = columns[number // 2].images[number % 2].clip(0, 255).round()
        np.testing.assert_array_equal(image.get_array(), pixels)
    lefts, tops = ([image.get_extent()[side] for image in images] for side in (0, 3))
    assert lefts[0] == lefts[1] < lefts[2] < lefts[4]
    assert tops[0] == tops[2] < tops[1]


def test_a_frame_lies_where_it_is_said():
    column = Column(("file",), np.zeros((1, 8, 8, 3)), frames=[(0.25, 0.0, 0.5, 1.0)])

    axes = draw(plot_contact_sheet([column], captions=["cat"], title=["t"]))

    left, right, bottom, top = axes.images[0].get_extent()
    _, frame = axes.patches
    assert frame.get_x() == pytest.approx(left + 0.25 * (right - left))
    assert (frame.get_y(), frame.get_height()) == pytest.approx((top, bottom - top))
    assert frame.get_width() == pytest.approx(0.5 * (right - left))


@pytest.mark.parametrize(("num_columns", "num_pictures", "size_px"), [(1, 1, 8), (23, 20, 224), (2, 20, 512)], ids=str)
def test_the_file_is_neither_tiny_nor_huge(num_columns, num_pictures, size_px):
    image = np.broadcast_to(np.uint8(0), (num_pictures, size_px, size_px, 3))

    figure = plot_contact_sheet([Column(("a",), image)] * num_columns, captions=["c"] * num_pictures, title=["t"])

    assert 60 <= max(figure.get_size_inches() * figure.dpi) <= 6000.5


@pytest.mark.parametrize(("columns", "captions"), [([], ["cat"]), (columns_of(1, 2), ["cat"]), (columns_of(1, 0), [])])
def test_columns_and_captions_that_do_not_belong_together_are_refused(columns, captions):
    with pytest.raises(ValueError, match="captions for columns"):
        plot_contact_sheet(columns, captions=captions, title=["t"])
