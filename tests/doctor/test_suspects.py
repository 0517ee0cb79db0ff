"""Wrong labels are found from features alone, whatever the classes look like."""

import numpy as np
import pytest

from transferkit.doctor import suspects
from transferkit.doctor.suspects import suspect_labels


def clusters(counts, *, width=40, spread=0.25, seed=0):
    """Features in one cloud per class, and labels."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = draw.normal(size=(len(counts), width))
    return (centres[labels] + spread * draw.normal(size=(len(labels), width))).astype(np.float32), labels


def swapped(labels, rows):
    """The same labels with some moved on to the next class."""
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + 1) % (labels.max() + 1)
    return noisy


def test_planted_labels_come_first_with_their_true_class():
    features, labels = clusters([40, 40, 40])
    planted = [3, 50, 95]

    found = suspect_labels(features, swapped(labels, planted))[:3]

    assert sorted(one.row for one in found) == planted
    for one in found:
        assert (one.label, one.likely_label) == ((labels[one.row] + 1) % 3, labels[one.row])
        assert one.confident
        assert one.probability_of_likely > 0.5 > one.probability_of_label


def test_scores_rise_down_the_list():
    features, labels = clusters([30, 30, 30], spread=1.5)

    scores = [one.score for one in suspect_labels(features, swapped(labels, [1, 40, 80]))]

    assert len(scores) > 3
    assert scores == sorted(scores)
    assert scores[-1] < 0


def test_clean_labels_that_are_easily_told_apart_raise_no_suspicion():
    features, labels = clusters([30, 30, 30])

    assert suspect_labels(features, labels) == ()


@pytest.mark.parametrize("seed", range(5))
def test_labels_without_any_sense_raise_no_suspicion(seed):
    features, labels = clusters([40, 40, 40], seed=seed)

    assert suspect_labels(features, np.random.default_rng(seed).permutation(labels)) == ()


def test_the_nearest_pictures_are_of_the_likely_class_and_nearest_first():
    features, labels = clusters([20, 20])
    features[0] = features[25] + 0.001  # looks like that one, of the other class
    features[7] = features[0]  # and so would this one, but it is of its own class

    one = next(one for one in suspect_labels(features, labels) if one.row == 0)

    assert one.nearest[0] == 25
    assert len(set(one.nearest)) == 3
    assert {labels[row] for row in one.nearest} == {1}


def test_positions_and_labels_are_those_given_when_single_pictures_are_not_judged():
    features, labels = clusters([1, 30, 1, 30])
    noisy = labels.copy()
    noisy[5] = 3

    found = suspect_labels(features, noisy)

    assert (found[0].row, found[0].label, found[0].likely_label) == (5, 3, 1)
    assert not {0, 31} & {one.row for one in found}


def test_a_wrong_label_in_a_class_of_two_is_found():
    features, labels = clusters([2] * 5 + [30, 30])
    noisy = labels.copy()
    noisy[12] = 1  # which makes three

    rows = [one.row for one in suspect_labels(features, noisy)]

    assert 12 in rows[:3]
    assert not set(rows) & set(range(13, 70))


@pytest.mark.parametrize("counts", [[], [1], [1, 1, 1], [5]], ids=str)
def test_nothing_is_said_where_there_is_nothing_to_compare(counts):
    features, labels = clusters(counts) if counts else (np.empty((0, 4), np.float32), np.empty(0, np.int64))

    assert suspect_labels(features, labels) == ()


def test_features_that_are_all_the_same_say_nothing():
    assert suspect_labels(np.ones((40, 8), np.float32), np.arange(40) % 2) == ()


def test_the_same_pictures_give_the_same_list():
    features, labels = clusters([30, 30, 30], spread=1.5)

    first, again = (suspect_labels(features, swapped(labels, [1, 40]), seed=3) for _ in range(2))

    assert first == again


def test_a_large_set_gets_fewer_iterations_and_finds_the_same(monkeypatch):
    features, labels = clusters([60, 60, 60, 60], width=300)
    noisy = swapped(labels, [3, 70, 140, 200])
    monkeypatch.setattr(suspects, "_MAX_WORK", 1)

    found = suspect_labels(features, noisy)[:4]

    assert sorted(one.row for one in found) == [3, 70, 140, 200]


def test_a_probability_counts_by_what_is_usual_for_its_class():
    labels = np.array([0] * 10 + [1] * 10)
    probabilities = np.where(labels[:, None] == 0, (0.98, 0.02), (0.6, 0.4))  # the second class is hard to recognise
    probabilities[0] = (0.55, 0.45)

    scores, likely, confident = suspects._rank(probabilities, labels)

    assert scores[0] < 0 < scores[1:].min()
    assert (likely[0], confident[0]) == (1, False)  # 0.45 is below half, the least that is asked of two classes
