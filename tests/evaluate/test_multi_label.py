"""Numbers about pictures of several classes, worked out by hand."""

import json

import numpy as np
import pytest

from transferkit.evaluate.metrics import report_to_dict
from transferkit.evaluate.multi_label import evaluate_multi_label, most_frequent

pytestmark = pytest.mark.filterwarnings("error")

NAMES = ("ant", "bee", "cat", "dog")
# No picture has a dog.
LABELS = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]], bool)
PROBABILITIES = np.array(
    [[0.9, 0.2, 0.6, 0.1], [0.4, 0.8, 0.3, 0.2], [0.5, 0.1, 0.2, 0.1], [0.1, 0.3, 0.7, 0.6]], np.float32
)
THRESHOLDS = np.array([0.45, 0.25, 0.5, 0.5])
# Found: ant in 0 and 2, bee in 1 and 3, cat in 0 and 3, dog in 3.


def evaluate(probabilities=PROBABILITIES, labels=LABELS, *, thresholds=THRESHOLDS, majority=(1, 1, 0, 0)):
    return evaluate_multi_label(
        probabilities,
        labels,
        thresholds=thresholds,
        class_names=NAMES,
        split="test",
        majority=np.array(majority, bool),
    )


@pytest.fixture(scope="module")
def report():
    return evaluate()


def test_accuracy_is_the_share_of_pictures_with_exactly_their_classes(report):
    assert report.num_images == 4
    assert report.accuracy == pytest.approx(1 / 4)


def test_hamming_loss_is_the_share_of_wrong_answers(report):
    assert report.hamming_loss == pytest.approx(3 / 16)  # ant in 1 and in 2, dog in 3


def test_classes_are_judged_at_their_own_thresholds(report):
    ant, bee, cat, dog = report.per_class

    assert (ant.precision, ant.recall, ant.f1, ant.support, ant.threshold) == (0.5, 0.5, 0.5, 2, 0.45)
    assert (bee.precision, bee.recall, cat.precision, cat.recall) == (1, 1, 1, 1)
    assert (dog.precision, dog.recall, dog.f1, dog.support) == (0, 0, 0, 0)


def test_average_precision_of_a_class_is_that_of_its_ranking_and_missing_without_pictures(report):
    found = [one.average_precision for one in report.per_class]

    # Ants come first and third: precision 1 at half the recall, 2/3 at all of it.
    assert found[:3] == [pytest.approx((1 + 2 / 3) / 2), 1, 1]
    assert found[3] is None
    assert report.mean_average_precision == pytest.approx((5 / 6 + 2) / 3)


def test_average_precision_does_not_depend_on_the_thresholds(report):
    other = evaluate(thresholds=np.full(4, 0.99))

    assert other.mean_average_precision == report.mean_average_precision
    assert other.accuracy == 1 / 4  # nothing is found, and one picture has nothing


def test_averages_are_over_answers_and_over_classes(report):
    assert report.micro_average.precision == pytest.approx(5 / 7)
    assert report.micro_average.recall == pytest.approx(5 / 6)
    assert report.micro_average.f1 == pytest.approx(10 / 13)
    assert report.macro_average.f1 == pytest.approx((0.5 + 1 + 1 + 0) / 4)


def test_log_loss_is_the_mean_over_all_answers(report):
    p = PROBABILITIES.astype(np.float64)

    assert report.log_loss == pytest.approx(-np.log(np.where(LABELS, p, 1 - p)).mean())


def test_baseline_always_answers_the_combination_given_and_ranks_at_random(report):
    baseline = report.majority_baseline

    assert baseline.class_names == ("ant", "bee")
    assert baseline.accuracy == 1 / 4
    assert baseline.mean_average_precision == pytest.approx(1 / 2)


def test_most_frequent_combination_is_that_of_most_rows():
    rows = np.array([[1, 0], [0, 1], [0, 1], [0, 0]], bool)

    np.testing.assert_array_equal(most_frequent(rows), [False, True])


def test_split_without_any_class_has_no_mean_average_precision():
    report = evaluate(labels=np.zeros((4, 4), bool))

    assert report.mean_average_precision is None
    assert report.majority_baseline.mean_average_precision == 0


def test_report_goes_to_json_and_back(report):
    values = report_to_dict(report)

    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["per_class"][3]["average_precision"] is None
    assert values["majority_baseline"]["class_names"] == ["ant", "bee"]


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (PROBABILITIES[:3], LABELS),
        (PROBABILITIES, LABELS.astype(np.int32)),
        (PROBABILITIES[:0], LABELS[:0]),
        (PROBABILITIES * 2, LABELS),
        (-PROBABILITIES, LABELS),
        (PROBABILITIES * np.nan, LABELS),
    ],
    ids=["other rows", "numbers", "nothing", "above 1", "below 0", "no numbers"],
)
def test_arrays_that_are_no_predictions_are_refused(probabilities, labels):
    with pytest.raises(ValueError, match=r"expected|between 0 and 1"):
        evaluate(probabilities, labels)
