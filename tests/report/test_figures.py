from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import auc

from transferkit.evaluate.metrics import RocCurve
from transferkit.report.figures import plot_confusion, plot_curves, plot_roc, plot_samples

pytestmark = pytest.mark.filterwarnings("error")

ODD_NAMES = (
    "$x_1$ and \\frac{1}{2}$",
    "$_{^",
    "two\nlines\tand a tab",
    "\U0001f984 \U0001faf6",  # no font at hand has these
    "a\x00b\x1b[31m\u202e\u200d",
    "\udcff",  # half a character, as in file names that are no UTF-8
    "",
    "Tomato___Yellow_Leaf_Curl_Virus " * 20,
)
TWO_PHASES = (("warm-up", 5), ("fine-tune", 15))


def history(phases, **changes):
    """A run of `phases`, pairs of a name and a number of epochs, as `plot_curves` takes it."""
    phase_names = [name for name, num_epochs in phases for _ in range(num_epochs)]
    num_epochs = len(phase_names)
    falling = np.exp(-np.arange(num_epochs) / 5)
    values = {
        "epochs": range(1, num_epochs + 1),
        "phases": phase_names,
        "learning_rates": [1e-3] * num_epochs,
        "train_loss": list(2 * falling),
        "validation_loss": list(2 * falling + 0.1),
        "train_accuracy": list(1 - falling),
        "validation_accuracy": list(0.9 - 0.9 * falling),
    }
    return {**values, **changes}


def counts(num_classes):
    matrix = np.random.default_rng(num_classes).integers(0, 4, (num_classes, num_classes))
    return matrix + 60 * np.eye(num_classes, dtype=int)


def names(num_classes):
    return [f"class {label}" for label in range(num_classes)]


def curves_of(areas, class_names=None):
    """A curve of one corner for each area: (0, 0), (0, h), (1, 1) has the area (1 + h) / 2."""
    return tuple(
        RocCurve(name, np.array([0.0, 0.0, 1.0]), np.array([0.0, 2 * area - 1, 1.0]), area)
        for name, area in zip(class_names or names(len(areas)), areas, strict=True)
    )


def assert_draws(figure):
    """It becomes a picture that is not blank; every warning on the way is an error."""
    figure.savefig(file := BytesIO(), format="png", dpi=50)
    assert len(file.getvalue()) > 1000


def laid_out(figure):
    """The figure's renderer, after everything was given its place; far cheaper than drawing it."""
    figure.get_layout_engine().execute(figure)
    return FigureCanvasAgg(figure).get_renderer()


def assert_stays_inside(figure):
    box = figure.get_tightbbox(laid_out(figure))  # in inches
    width, height = figure.get_size_inches()
    overhang_px = figure.dpi * max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)
    assert overhang_px <= 1  # text is rounded to whole pixels


def texts_overlap(figure, texts):
    renderer = laid_out(figure)
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    return any(boxes[i].overlaps(boxes[j]) for i in range(len(boxes)) for j in range(i))


def legend_texts(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def texts_of(labels):
    """What is drawn: a backslash only keeps a dollar sign from starting mathematics."""
    return [label.get_text().replace(r"\$", "$") for label in labels]


def test_curves_show_loss_accuracy_and_learning_rate_over_the_epochs():
    figure = plot_curves(**history(TWO_PHASES))

    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert figure.axes[-1].get_xlabel() == "epoch"


@pytest.mark.parametrize(("panel", "kind"), [(0, "loss"), (1, "accuracy")])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_curves_hold_the_values_given(panel, kind, split):
    values = history(TWO_PHASES)

    figure = plot_curves(**values)

    line = next(line for line in figure.axes[panel].lines if line.get_label() == split)
    np.testing.assert_allclose(line.get_xdata(), values["epochs"])
    np.testing.assert_allclose(line.get_ydata(), values[f"{split}_{kind}"])


def test_curves_mark_phase_boundaries_and_the_best_epoch_in_every_panel():
    figure = plot_curves(**history(TWO_PHASES, best_epoch=17))

    for axes in figure.axes:
        uprights = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
        assert uprights == [5.5, 17]
    assert "best epoch: 17" in legend_texts(figure)


def test_curves_name_each_phase_above_its_epochs():
    figure = plot_curves(**history(TWO_PHASES))

    assert [(text.get_text(), text.xy[0]) for text in figure.axes[0].texts] == [("warm-up", 3), ("fine-tune", 13)]


def test_curves_do_not_connect_the_learning_rates_of_two_phases():
    figure = plot_curves(**history([("warm-up", 2), ("fine-tune", 4)], learning_rates=[1e-3] * 2 + [1e-5] * 4))

    segments = [list(line.get_ydata()) for line in figure.axes[2].lines if len(set(line.get_xdata())) > 1]
    assert segments == [[1e-3] * 2, [1e-5] * 4]


@pytest.mark.parametrize(
    ("rates", "scale"), [([1e-3, 1e-5, 0], "log"), ([2e-3, 1e-3, 1e-3], "linear"), ([0, 0, 0], "linear")]
)
def test_curves_have_a_logarithmic_rate_where_it_spans_a_power_of_ten(rates, scale):
    figure = plot_curves(**history([("all", 3)], learning_rates=rates))

    assert figure.axes[2].get_yscale() == scale
    assert_stays_inside(figure)


def test_curves_leave_out_values_that_are_not_there():
    figure = plot_curves(**history([("all", 2)], validation_loss=[None, None], train_loss=[float("inf"), 1.0]))

    assert legend_texts(figure) == ["train"]


def test_curves_without_any_finite_loss_are_drawn():
    gone = [float("nan"), float("inf")]

    figure = plot_curves(**history([("all", 2)], train_loss=gone, validation_loss=gone))

    assert_draws(figure)


def test_curves_of_one_epoch_are_points_at_a_whole_number():
    figure = plot_curves(**history([("all", 1)]))

    assert all(line.get_marker() == "o" for axes in figure.axes for line in axes.lines)
    assert [tick for tick in figure.axes[2].get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_curves_of_many_epochs_mark_only_what_makes_no_line():
    figure = plot_curves(**history([("warm-up", 1), ("head", 20), ("all", 80)]))

    assert [line.get_marker() for line in figure.axes[2].lines[:3]] == ["o", "", ""]


@pytest.mark.parametrize(
    "phases",
    [(("warm-up", 1), ("fine-tune", 30)), [(f"{n}: gradual unfreezing", 1) for n in range(40)], [("x" * 99, 2)]],
    ids=["narrow", "many", "long"],
)
def test_phase_names_stay_inside_the_figure(phases):
    figure = plot_curves(**history(phases))

    assert_stays_inside(figure)


@pytest.mark.parametrize(("num_epochs", "slant"), [((4, 8, 8), 0), ((1, 1, 18), 40)])
def test_phase_names_are_level_only_where_each_has_room(num_epochs, slant):
    figure = plot_curves(**history(zip(("warm-up", "last two stages", "everything"), num_epochs, strict=True)))

    texts = figure.axes[0].texts
    assert [text.get_rotation() for text in texts] == [slant] * 3
    assert slant or not texts_overlap(figure, texts)


def test_curves_of_very_many_phases_name_as_many_as_there_is_room_for():
    figure = plot_curves(**history([(f"phase {number}", 1) for number in range(60)]))

    assert 15 < len(figure.axes[0].texts) < 30


def test_curves_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 epochs"):
        plot_curves(**history([("all", 2)], train_loss=[1.0]))


def test_confusion_axes_say_which_way_the_matrix_is_read():
    axes = plot_confusion([[2, 1], [0, 3]], ["cat", "dog"]).axes[0]

    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert texts_of(axes.get_xticklabels()) == texts_of(axes.get_yticklabels()) == ["cat", "dog"]


@pytest.mark.parametrize("num_classes", [2, 20])
def test_confusion_cells_print_the_counts_at_their_place(num_classes):
    matrix = counts(num_classes)

    figure = plot_confusion(matrix, names(num_classes))

    printed = {text.get_position()[::-1]: int(text.get_text()) for text in figure.axes[0].texts}
    assert printed == dict(np.ndenumerate(matrix))


def test_confusion_colours_are_shares_of_each_true_class():
    axes = plot_confusion([[3, 1], [0, 1000]], ["cat", "dog"]).axes[0]

    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert [text.get_color() for text in axes.texts] == ["white", "black", "0.5", "white"]


def test_confusion_explains_rows_without_pictures():
    axes = plot_confusion([[3, 1], [0, 0]], ["cat", "dog"]).axes[0]

    assert axes.images[0].get_array().mask.tolist() == [[False, False], [True, True]]
    assert "grey rows" in axes.get_xlabel()


@pytest.mark.parametrize(("num_classes", "num_named"), [(21, 21), (60, 60), (300, 50)])
def test_confusion_of_many_classes_prints_no_counts_and_at_most_sixty_names(num_classes, num_named):
    axes = plot_confusion(counts(num_classes), names(num_classes)).axes[0]

    assert not axes.texts
    assert len(axes.get_xticklabels()) == num_named
    assert axes.get_yticklabels()[1].get_text() == f"class {axes.get_yticks()[1]}"


def test_confusion_of_many_classes_shows_a_single_mistake():
    matrix = 500 * np.eye(30, dtype=int)
    matrix[3, 4] = 1

    image = plot_confusion(matrix, names(30)).axes[0].images[0]

    shades = image.cmap(image.norm(image.get_array()))
    assert tuple(shades[4, 3]) == (1, 1, 1, 1)
    assert shades[3, 4].min() < 0.9


@pytest.mark.parametrize("num_classes", [2, 10, 37, 300])
def test_confusion_names_neither_overlap_nor_leave_the_figure(num_classes):
    figure = plot_confusion(counts(num_classes), [f"{n} of a family with a long name" for n in range(num_classes)])

    assert_stays_inside(figure)
    assert not texts_overlap(figure, figure.axes[0].get_yticklabels())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *((name, name) for name in ("$x_1$", "costs 5 $", "\\$", "_{^", "Löwenzahn", "Ελλάδα", "<b>")),
        (" two\n lines\tof text ", "two lines of text"),
        ("Aston Martin V8 Vantage Convertible 2012", "Aston Martin V…vertible 2012"),
        ("\U0001f984", "0: □"),
        ("\udcff\u200b", "(no name)"),
    ],
)
def test_class_name_is_shown_as_far_as_a_font_can(name, shown):
    label = plot_confusion([[2, 1], [0, 3]], [name, "dog"]).axes[0].get_yticklabels()[0]

    assert texts_of([label]) == [shown]


def test_odd_names_are_drawn_without_a_warning():
    num_names = len(ODD_NAMES)

    assert_draws(plot_confusion(counts(num_names), ODD_NAMES))
    assert_draws(plot_roc(curves_of(np.linspace(0.6, 0.9, num_names), ODD_NAMES)))
    assert_draws(plot_samples(np.zeros((num_names, 1, 4, 4, 3)), captions=ODD_NAMES, title="$1 of {2}$"))
    assert_draws(plot_curves(**history([(name, 1) for name in ODD_NAMES])))


def test_roc_legend_gives_each_area_the_worst_first():
    figure = plot_roc(curves_of([0.95, 0.62, 0.8], ["ant", "bird", "cow"]))

    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("false positive rate", "true positive rate")
    assert legend_texts(figure) == ["guessing, AUC 0.500", "bird, AUC 0.620", "cow, AUC 0.800", "ant, AUC 0.950"]


def test_roc_of_ten_classes_is_ten_different_lines():
    axes = plot_roc(curves_of(np.linspace(0.6, 0.8, 10))).axes[0]

    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines[1:]}) == 10


def test_roc_of_many_classes_is_their_mean_and_the_five_worst():
    figure = plot_roc(curves_of(np.linspace(0.6, 0.9, 31)))

    worst = [f"class {label}, AUC {0.6 + 0.01 * label:.3f}" for label in range(5)]
    legend = ["guessing, AUC 0.500", "range of all classes", "mean of 31 classes, AUC 0.750", *worst]
    assert legend_texts(figure) == legend
    mean = figure.axes[0].lines[1]
    assert auc(mean.get_xdata(), mean.get_ydata()) == pytest.approx(0.75)


@pytest.mark.parametrize(("areas", "num_panels"), [([0.95, 0.99], 1), ([0.89, 0.99], 0)])
def test_roc_corner_is_drawn_larger_only_if_every_curve_is_near_it(areas, num_panels):
    figure = plot_roc(curves_of(areas))

    assert len(figure.axes[0].child_axes) == num_panels


@pytest.mark.parametrize("num_classes", [0, 1, 10, 300])
def test_roc_legend_stays_inside_the_figure(num_classes):
    class_names = [f"{label} with a name as long as they come" for label in range(num_classes)]

    figure = plot_roc(curves_of(np.linspace(0.91, 1, num_classes), class_names))

    assert_stays_inside(figure)


def test_roc_without_curves_says_that_nothing_is_defined():
    axes = plot_roc(()).axes[0]

    assert "not defined" in axes.texts[0].get_text()


def test_samples_show_in_each_row_a_picture_and_its_draws():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3)).astype(np.uint8)

    figure = plot_samples(images, captions=["cat", "dog"], column_titles=["original", "draw 1", "draw 2"], title="all")

    shown = np.array([axes.images[0].get_array() for axes in figure.axes]).reshape(images.shape)
    np.testing.assert_array_equal(shown, images)
    assert [axes.get_title() for axes in figure.axes] == ["original", "draw 1", "draw 2", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["cat", "", "", "dog", "", ""]
    assert figure.get_suptitle() == "all"


def test_samples_without_draws_fill_a_grid():
    figure = plot_samples(np.zeros((7, 1, 8, 8, 3), np.float32), captions=names(7))

    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (3, 3)
    assert [axes.get_title() for axes in figure.axes] == [*names(7), "", ""]


def test_sample_values_are_rounded_and_clipped_to_what_a_screen_can_show():
    images = np.array([-20.0, 0.4, 99.6, 255.0, 300.0], np.float32).reshape(1, 1, 5, 1, 1).repeat(3, axis=-1)

    figure = plot_samples(images, captions=["grey"])

    assert figure.axes[0].images[0].get_array()[:, 0, 0].tolist() == [0, 0, 100, 255, 255]


@pytest.mark.parametrize("shape", [(3, 4, 32, 32, 3), (5, 1, 16, 48, 3), (1, 1, 8, 8, 3)], ids=str)
def test_sample_texts_stay_inside_the_figure(shape):
    captions = [f"picture {number} with a long caption" for number in range(shape[0])]

    figure = plot_samples(np.zeros(shape), captions=captions, column_titles=names(shape[1]), title="a title " * 30)

    assert_stays_inside(figure)


@pytest.mark.parametrize(
    ("shape", "captions", "column_titles"),
    [((0, 2, 4, 4, 3), [], []), ((2, 2, 4, 4, 3), ["one"], []), ((1, 2, 4, 4, 3), ["one"], ["original"])],
    ids=["no picture", "captions", "titles"],
)
def test_samples_with_texts_of_another_number_are_refused(shape, captions, column_titles):
    with pytest.raises(ValueError, match="captions"):
        plot_samples(np.zeros(shape), captions=captions, column_titles=column_titles)
