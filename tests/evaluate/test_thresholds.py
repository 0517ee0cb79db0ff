"""From which probability on a class is found."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from transferkit.evaluate.thresholds import choose_thresholds, find_classes, name_found

NAMES = ("ant", "bee", "cat")


def choose(probabilities, labels) -> float:
    (found,) = choose_thresholds(np.array(probabilities)[:, None], np.array(labels, bool)[:, None])
    return float(found)


def test_threshold_lies_half_way_between_what_it_tells_apart():
    assert choose([0.9, 0.3, 0.1], [1, 1, 0]) == pytest.approx(0.2)


def test_threshold_of_a_class_without_pictures_is_one_half():
    assert choose([0.9, 0.3, 0.1], [0, 0, 0]) == 0.5


def test_of_equally_good_thresholds_the_nearest_to_one_half_is_taken():
    # The first alone, or all four: F1 is 2/3 for both.
    assert choose([0.95, 0.9, 0.85, 0.8], [1, 0, 0, 1]) == pytest.approx(0.4)
    assert choose([0.9, 0.6, 0.5, 0.1], [1, 0, 0, 1]) == pytest.approx(0.75)


def test_no_threshold_lies_between_equal_probabilities():
    found = choose([0.7, 0.7, 0.7, 0.2], [1, 0, 1, 0])

    assert found == pytest.approx(0.45)


def test_probabilities_of_nothing_but_0_leave_one_half():
    assert choose([0.0, 0.0], [1, 0]) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_larger_f1(seed):
    draw = np.random.default_rng(seed)
    labels = draw.random((30, 4)) < 0.3
    # Rounded, so that many are equal; and as a model gives them.
    probabilities = np.round(draw.random((30, 4)) * 0.5 + 0.4 * labels, 1).astype(np.float32)

    thresholds = choose_thresholds(probabilities, labels)

    found = find_classes(probabilities, thresholds)
    for label in range(4):
        reached = f1_score(labels[:, label], found[:, label])
        others = [f1_score(labels[:, label], probabilities[:, label] >= one) for one in np.unique(probabilities)]
        assert reached == pytest.approx(max(others))


def test_classes_are_found_from_their_thresholds_on():
    found = find_classes(np.array([[0.2, 0.2, 0.2], [0.9, 0.1, 0.7]]), np.array([0.1, 0.2, 0.3]))

    np.testing.assert_array_equal(found, [[True, True, False], [True, False, True]])


@pytest.mark.parametrize(
    ("thresholds", "names"),
    [
        (None, ("cat",)),
        ([0.1, 0.3, 0.5], ("ant", "cat")),
        ([0.9, 0.9, 0.9], ()),
        ([0.0, 0.0, 0.0], ("ant", "bee", "cat")),
    ],
)
def test_names_are_those_found_in_label_order(thresholds, names):
    values = np.array([0.15, 0.2, 0.8], np.float32)

    assert name_found(values, NAMES, None if thresholds is None else np.array(thresholds)) == names
