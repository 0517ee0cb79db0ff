import json
import math

import numpy as np
import pytest

from transferkit.evaluate.metrics import (
    evaluate_predictions,
    expected_calibration_error,
    report_to_dict,
    roc_curves,
)

pytestmark = pytest.mark.filterwarnings("error")

# Six pictures of three classes, worked out by hand: the third is taken for a bird, the fifth for a cow.
NAMES = ("ant", "bird", "cow")
LABELS = np.array([0, 0, 0, 1, 1, 2], dtype=np.int32)
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.2, 0.7, 0.1], [0.1, 0.4, 0.5], [0.1, 0.2, 0.7]]
)


def evaluate(probabilities=PROBABILITIES, labels=LABELS, *, class_names=NAMES, majority_label=0):
    return evaluate_predictions(
        np.asarray(probabilities),
        np.asarray(labels),
        class_names=class_names,
        split="test",
        majority_label=majority_label,
    )


def drawn_predictions(num_images, num_classes):
    """Float32 probabilities as a softmax gives them, better than chance, and their labels."""
    draws = np.random.default_rng(num_images + num_classes)
    labels = draws.integers(0, num_classes, num_images)
    logits = draws.normal(size=(num_images, num_classes)).astype(np.float32)
    logits[np.arange(num_images), labels] += 2
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True), labels


def names(num_classes):
    return tuple(f"class {label}" for label in range(num_classes))


def test_split_and_number_of_images_are_those_given():
    report = evaluate()

    assert (report.split, report.num_images) == ("test", 6)


def test_accuracies_equal_those_worked_out_by_hand():
    report = evaluate()

    assert report.accuracy == pytest.approx(4 / 6)
    assert report.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_confusion_matrix_has_true_classes_in_rows():
    report = evaluate()

    assert report.confusion_matrix == ((2, 1, 0), (0, 1, 1), (0, 0, 1))


@pytest.mark.parametrize(
    ("label", "name", "precision", "recall", "f1", "support"),
    [(0, "ant", 1, 2 / 3, 0.8, 3), (1, "bird", 1 / 2, 1 / 2, 1 / 2, 2), (2, "cow", 1 / 2, 1, 2 / 3, 1)],
)
def test_class_report_equals_that_worked_out_by_hand(label, name, precision, recall, f1, support):
    row = evaluate().per_class[label]

    assert (row.name, row.support) == (name, support)
    assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))


def test_averages_equal_those_worked_out_by_hand():
    report = evaluate()

    macro, weighted = report.macro_average, report.weighted_average
    assert (macro.precision, macro.recall) == pytest.approx((2 / 3, (2 / 3 + 1 / 2 + 1) / 3))
    assert macro.f1 == pytest.approx((0.8 + 1 / 2 + 2 / 3) / 3)
    assert (weighted.precision, weighted.recall) == pytest.approx((4.5 / 6, 4 / 6))
    assert weighted.f1 == pytest.approx((3 * 0.8 + 2 * 1 / 2 + 2 / 3) / 6)


def test_log_loss_equals_that_worked_out_by_hand():
    report = evaluate()

    assert report.log_loss == pytest.approx(-sum(map(math.log, (0.8, 0.6, 0.3, 0.7, 0.4, 0.7))) / 6)


def test_log_loss_stays_finite_where_the_true_class_has_probability_zero():
    report = evaluate([[1.0, 0.0], [1.0, 0.0]], [0, 1], class_names=("no", "yes"))

    assert report.log_loss == pytest.approx(-math.log(2.220446e-16) / 2, rel=1e-6)


def test_roc_auc_equals_the_share_of_well_ordered_pairs():
    report = evaluate()

    assert report.roc_auc == pytest.approx((1 + 7 / 8 + 1) / 3)


@pytest.mark.parametrize(("label", "share"), [(0, 3 / 6), (1, 2 / 6), (2, 1 / 6)])
def test_majority_baseline_is_the_share_of_the_training_majority_in_this_split(label, share):
    baseline = evaluate(majority_label=label).majority_baseline

    assert (baseline.class_name, baseline.accuracy) == (NAMES[label], pytest.approx(share))


def test_calibration_error_equals_that_worked_out_by_hand():
    report = evaluate()

    # Bins by confidence: 0.5 twice wrong, 0.6 right, 0.7 twice right, 0.8 right.
    assert report.expected_calibration_error == pytest.approx((1.0 + 0.4 + 0.6 + 0.2) / 6)


def test_calibration_error_lets_gaps_cancel_only_inside_a_bin():
    probabilities, labels = np.array([[0.5, 0.5], [0.4, 0.6]]), np.array([0, 0])  # right at 0.5, wrong at 0.6

    in_one_bin = expected_calibration_error(probabilities, labels, num_bins=1)
    in_two_bins = expected_calibration_error(probabilities, labels, num_bins=2)

    assert in_one_bin == pytest.approx(abs(0.5 - 0.6) / 2)
    assert in_two_bins == pytest.approx((0.5 + 0.6) / 2)


def test_calibration_error_of_a_report_has_fifteen_bins():
    report = evaluate([[0.61, 0.39], [0.32, 0.68]], [0, 0], class_names=("no", "yes"))  # an edge at 2/3 between them

    assert report.expected_calibration_error == pytest.approx((0.39 + 0.68) / 2)


@pytest.mark.parametrize("num_classes", [5, 6])
def test_top5_accuracy_is_given_only_for_more_than_five_classes(num_classes):
    probabilities, labels = drawn_predictions(40, num_classes)

    report = evaluate(probabilities, labels, class_names=names(num_classes))

    assert (report.top5_accuracy is not None) == (num_classes > 5)


@pytest.mark.parametrize(("labels", "share"), [([1, 3, 4, 5, 6], 1), ([0, 2], 0), ([2, 3, 0, 0], 1 / 4)])
def test_top5_accuracy_counts_true_classes_among_the_five_likeliest(labels, share):
    probabilities = [[0.07, 0.3, 0.03, 0.2, 0.15, 0.13, 0.12]] * len(labels)

    report = evaluate(probabilities, labels, class_names=names(7))

    assert report.top5_accuracy == share


def test_top5_accuracy_is_never_below_accuracy_when_all_probabilities_are_equal():
    report = evaluate(np.full((4, 8), 1 / 8), np.zeros(4, int), class_names=names(8))

    assert report.accuracy == report.top5_accuracy == 1


def test_class_absent_from_the_split_leaves_roc_auc_undefined():
    report = evaluate(PROBABILITIES[:5], LABELS[:5])

    assert report.roc_auc is None


def test_class_absent_from_the_split_is_left_out_of_balanced_accuracy():
    report = evaluate(PROBABILITIES[:5], LABELS[:5])  # a cow is answered once, but there is none

    assert report.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_class_absent_from_the_split_keeps_its_row():
    report = evaluate(PROBABILITIES[:5], LABELS[:5])

    assert report.confusion_matrix[2] == (0, 0, 0)
    assert (report.per_class[2].name, report.per_class[2].support, report.per_class[2].recall) == ("cow", 0, 0.0)


def test_two_classes_have_the_roc_auc_of_the_second():
    positive = np.array([0.1, 0.4, 0.35, 0.8])

    report = evaluate(np.stack([1 - positive, positive], axis=1), [0, 0, 1, 1], class_names=("no", "yes"))

    assert report.roc_auc == pytest.approx(3 / 4)


def test_perfect_predictions_reach_every_best_value():
    report = evaluate(np.tile(np.eye(6), (2, 1)), np.tile(np.arange(6), 2), class_names=names(6))

    shares = (report.accuracy, report.top5_accuracy, report.balanced_accuracy, report.roc_auc, report.macro_average.f1)
    assert shares == pytest.approx((1, 1, 1, 1, 1))
    assert (report.log_loss, report.expected_calibration_error) == pytest.approx((0, 0), abs=1e-12)


def test_one_picture_is_enough():
    report = evaluate(PROBABILITIES[:1], LABELS[:1])

    assert (report.num_images, report.accuracy, report.balanced_accuracy, report.roc_auc) == (1, 1, 1, None)


@pytest.mark.parametrize(("num_images", "num_classes"), [(1, 300), (25, 2), (25, 20), (25, 300), (320, 300)])
def test_float32_probabilities_of_any_number_of_classes_give_no_warning(num_images, num_classes):
    probabilities, labels = drawn_predictions(num_images, num_classes)

    report = evaluate(probabilities, labels, class_names=names(num_classes))

    assert report.accuracy == np.mean(probabilities.argmax(axis=1) == labels)
    assert len(report.per_class) == len(report.confusion_matrix) == num_classes


def test_rows_are_scaled_to_sum_to_one():
    report = evaluate(PROBABILITIES * (1 + 1e-3))

    assert report.log_loss == pytest.approx(evaluate().log_loss, rel=1e-12)


def test_report_survives_json_unchanged():
    report = evaluate(PROBABILITIES[:5], LABELS[:5])

    values = report_to_dict(report)

    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert (values["accuracy"], values["num_images"], values["roc_auc"]) == (3 / 5, 5, None)
    assert values["per_class"][0]["support"] == values["confusion_matrix"][0][0] + 1 == 3


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (PROBABILITIES[:0], LABELS[:0]),
        (PROBABILITIES, LABELS[:5]),
        (PROBABILITIES[:, :2], LABELS),
        (PROBABILITIES, LABELS + 1),
        (PROBABILITIES, LABELS - 1),
        (PROBABILITIES, LABELS.astype(np.float32)),
        (np.where(PROBABILITIES == 0.8, np.nan, PROBABILITIES), LABELS),
        (PROBABILITIES - 0.2, LABELS),
        (PROBABILITIES * 0, LABELS),
    ],
    ids=["empty", "lengths", "columns", "high label", "low label", "float labels", "nan", "negative", "all zero"],
)
def test_arrays_that_are_no_predictions_are_refused(probabilities, labels):
    with pytest.raises(ValueError, match="probabilities|labels"):
        evaluate(probabilities, labels)


def test_roc_curve_equals_that_worked_out_by_hand():
    curve = roc_curves(PROBABILITIES, LABELS, NAMES)[1]

    # Birds by falling probability: 0.7 is one, 0.5 is not, 0.4 is one, then three that are not.
    assert (curve.name, curve.auc) == ("bird", pytest.approx(7 / 8))
    np.testing.assert_allclose(curve.false_positive_rate, [0, 0, 0.25, 0.25, 1])
    np.testing.assert_allclose(curve.true_positive_rate, [0, 0.5, 0.5, 1, 1])


def test_roc_curves_have_the_mean_area_of_the_report():
    probabilities, labels = drawn_predictions(200, 7)

    curves = roc_curves(probabilities, labels, names(7))

    assert evaluate(probabilities, labels, class_names=names(7)).roc_auc == pytest.approx(
        np.mean([curve.auc for curve in curves])
    )


def test_two_classes_have_the_curve_of_the_second_alone():
    curves = roc_curves(PROBABILITIES[:5, :2], LABELS[:5], NAMES[:2])

    assert [curve.name for curve in curves] == ["bird"]


@pytest.mark.parametrize(("num_images", "expected"), [(5, ["ant", "bird"]), (3, [])])
def test_roc_curves_leave_out_classes_without_pictures_on_both_sides(num_images, expected):
    curves = roc_curves(PROBABILITIES[:num_images], LABELS[:num_images], NAMES)

    assert [curve.name for curve in curves] == expected
