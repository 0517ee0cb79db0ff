"""One bar for each class."""

import io

import pytest

from transferkit.report.bars import plot_average_precision


def names_drawn(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_bars_show_the_worst_class_first_and_leave_out_what_is_not_defined():
    figure = plot_average_precision(("ant", "bee", "cat"), (0.9, None, 0.4), (0.5, 0.0, 0.1))

    precision, random = figure.axes[0].containers
    assert names_drawn(figure) == ["cat", "ant"]
    assert [bar.get_width() for bar in precision] == [0.4, 0.9]
    assert [bar.get_width() for bar in random] == [0.1, 0.5]


def test_of_many_classes_the_60_worst_are_drawn():
    names = [f"class {number}" for number in range(80)]

    figure = plot_average_precision(names, [number / 80 for number in range(80)], [0.01] * 80)

    assert names_drawn(figure) == names[:60]
    assert "60 worst of 80" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("values", [(), (None,)], ids=["no class", "nothing defined"])
def test_figure_without_a_bar_can_be_drawn(values):
    figure = plot_average_precision([f"${number}" for number in range(len(values))], values, values)

    figure.savefig(io.BytesIO(), format="png")

    assert names_drawn(figure) == []
