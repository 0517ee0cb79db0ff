"""What pictures count and how often they come, against numbers worked out on paper."""

from dataclasses import replace

import numpy as np
import pytest

from transferkit.data.balance import balance_training
from transferkit.data.load import Data
from transferkit.errors import DataError
from transferkit.recipe.data import DataSpec

COUNTS = (2, 3, 8)


def make_spec(imbalance="none") -> DataSpec:
    return DataSpec(source="sample", imbalance=imbalance)


@pytest.fixture
def data() -> Data:
    """Classes of 2, 3 and 8 training pictures; rows 0, 5 and 10 validate."""
    labels = np.repeat([0, 2, 1, 2], [3, 4, 4, 5]).astype(np.int32)
    validation = np.array([0, 5, 10])
    return Data(
        class_names=("ant", "bee", "cat"),
        images=np.zeros((16, 1, 1, 3), np.uint8),
        labels=labels,
        weights=np.ones(16, np.float32),
        paths=tuple(map(str, range(16))),
        digests=tuple(bytes([row]) * 32 for row in range(16)),
        rows={"train": np.setdiff1d(np.arange(16), validation), "validation": validation, "test": validation[:0]},
        skipped=(),
    )


def training_labels(data: Data) -> np.ndarray:
    return data.labels[data.rows["train"]]


# Weights


def test_nothing_is_weighted_or_repeated_without_a_reason(data):
    balance = balance_training(data, make_spec())

    assert balance.weights is None
    assert (balance.classes, balance.describe()) == ((), "")
    np.testing.assert_array_equal(balance.positions(seed=0, epoch=3), np.arange(13))


def test_class_weights_are_inverse_to_the_number_of_training_pictures(data):
    weights = balance_training(data, make_spec("class_weight")).weights

    expected = 13 / (3 * np.array(COUNTS))  # each class's pictures together count 13 / 3
    np.testing.assert_allclose(weights, expected[training_labels(data)], rtol=1e-6)
    assert weights.mean() == pytest.approx(1)


def test_effective_number_is_that_of_the_paper(data):
    weights = balance_training(data, make_spec({"effective_number": 0.9})).weights

    inverse = (1 - 0.9) / (1 - 0.9 ** np.array(COUNTS))
    expected = inverse * 13 / (inverse * COUNTS).sum()
    np.testing.assert_allclose(weights, expected[training_labels(data)], rtol=1e-6)


def test_effective_number_lies_between_no_weights_and_class_weights(data):
    near, far = (balance_training(data, make_spec({"effective_number": beta})).weights for beta in (1e-6, 1 - 1e-9))
    by_class = balance_training(data, make_spec("class_weight")).weights

    np.testing.assert_allclose(near, 1, rtol=1e-5)
    np.testing.assert_allclose(far, by_class, rtol=1e-5)


def test_own_weights_have_mean_1_over_the_training_pictures_alone(data):
    own = np.linspace(0, 5, 16).astype(np.float32)

    weights = balance_training(replace(data, weights=own), make_spec()).weights

    trained = own[data.rows["train"]]
    np.testing.assert_allclose(weights, trained / trained.mean(), rtol=1e-6)


def test_own_weights_multiply_those_of_the_classes(data):
    own = np.linspace(0.5, 5, 16).astype(np.float32)

    both = balance_training(replace(data, weights=own), make_spec("class_weight")).weights

    product = own[data.rows["train"]] / np.array(COUNTS)[training_labels(data)]
    np.testing.assert_allclose(both, product / product.mean(), rtol=1e-6)


@pytest.mark.parametrize("size", [1.0, 7.0])
@pytest.mark.parametrize("imbalance", ["none", "class_weight", "effective_number", "oversample"])
def test_equal_pictures_of_equal_classes_train_without_weights(data, imbalance, size):
    rows = np.array([1, 2, 3, 4, 7, 8])
    even = replace(data, weights=np.full(16, size, np.float32), rows={**data.rows, "train": rows})

    balance = balance_training(even, make_spec(imbalance))

    assert balance.weights is None
    assert balance.pictures_per_epoch == 6


def test_weights_of_nothing_but_0_are_an_error(data):
    with pytest.raises(DataError, match="weight 0"):
        balance_training(replace(data, weights=np.zeros(16, np.float32)), make_spec())


def test_pictures_of_several_classes_keep_their_own_weights(data):
    own = np.linspace(0.5, 5, 16).astype(np.float32)
    several = replace(data, labels=np.eye(3, dtype=bool)[data.labels] | [True, False, False], weights=own)

    balance = balance_training(several, make_spec())

    trained = own[data.rows["train"]]
    np.testing.assert_allclose(balance.weights, trained / trained.mean(), rtol=1e-6)
    assert [one.num_pictures for one in balance.classes] == [13, 3, 8]
    assert balance.classes[0].weight == pytest.approx(1)
    assert balance.pictures_per_epoch == 13


# Oversampling


def test_oversampling_shows_every_class_equally_often_and_every_picture_at_least_once(data):
    balance = balance_training(data, make_spec("oversample"))

    for epoch in range(5):
        times = np.bincount(balance.positions(seed=1, epoch=epoch), minlength=13)
        np.testing.assert_array_equal(np.bincount(training_labels(data), weights=times), [8, 8, 8])
        assert times.min() == 1
        for label in range(3):  # within a class no picture comes twice more often than another
            own = times[training_labels(data) == label]
            assert own.max() - own.min() <= 1


def test_oversampling_is_a_function_of_the_seed_and_the_epoch(data):
    first, again = (balance_training(data, make_spec("oversample")) for _ in range(2))
    once = np.sort(first.positions(seed=1, epoch=2))

    first.positions(seed=1, epoch=0)

    np.testing.assert_array_equal(np.sort(again.positions(seed=1, epoch=2)), once)
    others = [first.positions(seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)]
    assert len({np.sort(one).tobytes() for one in others}) > 1


def test_oversampling_gives_each_picture_its_share_over_many_epochs(data):
    balance, labels = balance_training(data, make_spec("oversample")), training_labels(data)

    times = sum(np.bincount(balance.positions(seed=0, epoch=epoch), minlength=13) for epoch in range(2000)) / 2000

    # Of three pictures two come a third time: standard error 0.01.
    np.testing.assert_allclose(times, 8 / np.array(COUNTS)[labels], atol=0.06)


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 24), (8, 3), (9, 3), (24, 1), (100, 1)])
def test_steps_follow_from_what_an_epoch_holds(data, batch_size, steps):
    balance = balance_training(data, make_spec("oversample"))

    assert balance.steps_per_epoch(batch_size) == steps
    assert len(balance.positions(seed=0, epoch=0)) == balance.pictures_per_epoch == 24


def test_oversampled_pictures_keep_their_weights_which_have_mean_1_over_the_epoch(data):
    own = np.linspace(0.5, 5, 16).astype(np.float32)
    balance = balance_training(replace(data, weights=own), make_spec("oversample"))

    over_epochs = [balance.weights[balance.positions(seed=0, epoch=epoch)].mean() for epoch in range(2000)]

    assert np.mean(over_epochs) == pytest.approx(1, abs=0.01)
    ratios = balance.weights / own[data.rows["train"]]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)


# What is told


@pytest.mark.parametrize(
    ("imbalance", "parts"),
    [
        ("class_weight", ["imbalance: class_weight", "0.542 (cat, 8 pictures) to 2.17 (ant, 2 pictures)"]),
        ("oversample", ["24 pictures instead of 13", "1 (cat, 8 pictures) to 4 (ant, 2 pictures) times"]),
    ],
)
def test_one_line_tells_the_extremes(data, imbalance, parts):
    text = balance_training(data, make_spec(imbalance)).describe()

    assert "\n" not in text
    for part in (*parts, "class_weights.csv"):
        assert part in text


def test_classes_tell_pictures_weight_and_times(data):
    rows = [
        [(one.name, one.num_pictures, round(one.weight, 4), round(one.times, 4)) for one in balance.classes]
        for balance in (balance_training(data, make_spec(kind)) for kind in ("class_weight", "oversample"))
    ]

    assert rows == [
        [("ant", 2, 2.1667, 1.0), ("bee", 3, 1.4444, 1.0), ("cat", 8, 0.5417, 1.0)],
        [("ant", 2, 1.0, 4.0), ("bee", 3, 1.0, 2.6667), ("cat", 8, 1.0, 1.0)],
    ]


@pytest.mark.parametrize("imbalance", ["none", "class_weight", {"effective_number": 0.9}, "oversample"], ids=str)
def test_what_is_told_of_a_class_is_what_its_pictures_count_in_training(data, imbalance):
    balance = balance_training(replace(data, weights=np.linspace(0.5, 5, 16, dtype=np.float32)), make_spec(imbalance))

    epochs = np.concatenate([balance.positions(seed=0, epoch=epoch) for epoch in range(300)])
    for label, one in enumerate(balance.classes):
        own = epochs[training_labels(data)[epochs] == label]
        assert balance.weights[training_labels(data) == label].mean() == pytest.approx(one.weight, rel=1e-6)
        assert len(own) == pytest.approx(300 * one.num_pictures * one.times)
    lightest, heaviest = (pick(balance.classes, key=lambda one: one.weight) for pick in (min, max))
    if imbalance != "oversample":
        assert f"{lightest.weight:.3g} ({lightest.name}, " in balance.describe()
        assert f"{heaviest.weight:.3g} ({heaviest.name}, " in balance.describe()
