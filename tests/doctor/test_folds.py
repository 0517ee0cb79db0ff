import numpy as np
import pytest

from transferkit.doctor.folds import in_classes_of_two, stratified_folds

LABELS = np.repeat(np.arange(6), [1, 2, 3, 4, 23, 50])


def test_every_class_is_spread_evenly_over_the_folds():
    folds = stratified_folds(LABELS, num_folds=5, seed=0)

    for label in range(6):
        counts = np.bincount(folds[label == LABELS], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_small_classes_do_not_share_a_fold():
    labels = np.arange(10)

    counts = np.bincount(stratified_folds(labels, num_folds=5, seed=0))

    assert counts.tolist() == [2, 2, 2, 2, 2]


def test_folds_depend_on_the_seed():
    first, again, other = (stratified_folds(LABELS, num_folds=5, seed=seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("labels", "expected"), [([3, 3, 5], [True, True, False]), ([1, 2], [False, False]), ([], [])], ids=str
)
def test_a_picture_alone_in_its_class_is_known(labels, expected):
    assert in_classes_of_two(np.array(labels, np.int64)).tolist() == expected
