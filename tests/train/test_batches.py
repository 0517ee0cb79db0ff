"""Every training picture once per epoch, in an order that follows from the seed and the epoch."""

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.train.batches import epoch_order, training_batches


def test_order_holds_every_position_once():
    assert sorted(epoch_order(13, seed=1, epoch=2)) == list(range(13))


def test_order_is_a_function_of_the_seed_and_the_epoch():
    np.testing.assert_array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=2))


@pytest.mark.parametrize(("seed", "epoch"), [(1, 3), (2, 2), (2, 1)])
def test_order_differs_between_epochs_and_between_seeds(seed, epoch):
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=seed, epoch=epoch))


@pytest.mark.model
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_hold_the_rows_with_their_labels_in_order_and_the_last_may_be_smaller(dtype):
    inputs = np.arange(20, dtype=dtype)[:, None, None] * np.ones((1, 2, 3), dtype)
    rows, labels = np.array([7, 3, 19, 0, 11]), np.array([1, 0, 2, 0, 1], np.int32)

    dataset = training_batches(inputs, rows, labels, batch_size=2)
    batches = list(dataset.as_numpy_iterator())

    assert int(dataset.cardinality()) == 3
    np.testing.assert_array_equal(np.concatenate([batch for batch, _ in batches]), inputs[rows])
    np.testing.assert_array_equal(np.concatenate([own for _, own in batches]), labels)
    assert [len(batch) for batch, _ in batches] == [2, 2, 1]
    assert batches[0][0].dtype == dtype


@pytest.mark.model
@pytest.mark.parametrize("augment", [[], ["flip"]], ids=["stored features", "pictures"])
def test_epoch_trains_on_every_picture_once_with_its_own_label(make_toy, make_data, record_batches, augment):
    toy = make_toy({"epochs": 2}, data=make_data(train=21), augment=augment)
    batches, run = record_batches(), toy.phase_run()

    for epoch in range(2):
        run.fit_epoch(epoch, [], Quiet())

    inputs, labels = (np.concatenate(one) for one in zip(*batches, strict=True))
    expected = label_by_values(run.inputs[run.rows], run.labels)
    assert len(expected) == 21
    for epoch in (slice(0, 21), slice(21, 42)):
        assert label_by_values(inputs[epoch], labels[epoch].argmax(axis=1)) == expected
    assert [len(batch) for batch, _ in batches] == [8, 8, 5] * 2
    assert not np.array_equal(labels[:21], labels[21:])


def label_by_values(inputs, labels) -> dict:
    """The label of each input; its values are sorted, so that a flipped picture is the same one."""
    return {tuple(np.sort(one, axis=None)): int(label) for one, label in zip(inputs, labels, strict=True)}
