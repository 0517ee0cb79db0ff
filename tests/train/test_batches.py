"""Every training picture once per epoch, in an order that follows from the seed and the epoch."""

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.train import batches as batches_module
from transferkit.train.batches import epoch_order, training_batches


def test_order_holds_every_position_once():
    assert sorted(epoch_order(13, seed=1, epoch=2)) == list(range(13))


def test_order_is_a_function_of_the_seed_and_the_epoch():
    np.testing.assert_array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=2))


@pytest.mark.parametrize(("seed", "epoch"), [(1, 3), (2, 2), (2, 1)])
def test_order_differs_between_epochs_and_between_seeds(seed, epoch):
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=seed, epoch=epoch))


class Alone:
    """One process, which reads the whole of every batch."""

    @staticmethod
    def own_rows(num_rows):
        return slice(0, num_rows)


class SecondOfTwo:
    """The second of two processes."""

    @staticmethod
    def own_rows(num_rows):
        return slice(num_rows // 2, num_rows)


ROWS, LABELS = np.array([7, 3, 19, 0, 11]), np.array([1, 0, 2, 0, 1], np.int32)


def inputs_of(dtype):
    return np.arange(20, dtype=dtype)[:, None, None] * np.ones((1, 2, 3), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_hold_the_rows_with_their_labels_in_order_and_the_last_may_be_smaller(dtype):
    inputs = inputs_of(dtype)

    batches = list(training_batches(inputs, ROWS, LABELS, batch_size=2, strategy=Alone))

    np.testing.assert_array_equal(np.concatenate([batch for batch, _, _ in batches]), inputs[ROWS])
    np.testing.assert_array_equal(np.concatenate([own for _, own, _ in batches]), LABELS)
    assert [len(batch) for batch, _, _ in batches] == [num_rows for _, _, num_rows in batches] == [2, 2, 1]
    assert batches[0][0].dtype == dtype


@pytest.mark.parametrize("group_bytes", [1, 200, 2**23], ids=["one batch at a time", "a few", "all at once"])
@pytest.mark.parametrize("first", [0, 1, 4, 5])
def test_batches_begin_anywhere_in_the_epoch_and_are_the_same_however_many_are_read_at_once(
    monkeypatch, group_bytes, first
):
    inputs, rows = np.arange(90, dtype=np.float32).reshape(9, 10), np.random.default_rng(0).permutation(9)
    monkeypatch.setattr(batches_module, "_GROUP_BYTES", group_bytes)

    found = list(training_batches(inputs, rows, rows, batch_size=2, strategy=Alone, first=first))

    expected = [rows[start : start + 2] for start in range(2 * first, 9, 2)]
    assert [labels.tolist() for _, labels, _ in found] == [one.tolist() for one in expected]
    for (batch, _, _), rows_of_batch in zip(found, expected, strict=True):
        np.testing.assert_array_equal(batch, inputs[rows_of_batch])


def test_process_reads_its_part_of_each_batch_and_knows_the_size_of_the_whole():
    found = list(training_batches(inputs_of(np.uint8), ROWS, LABELS, batch_size=3, strategy=SecondOfTwo))

    assert [(batch[:, 0, 0].tolist(), labels.tolist(), size) for batch, labels, size in found] == [
        ([3, 19], [0, 2], 3),
        ([11], [1], 2),
    ]


class FirstOfTwo:
    """The first of two processes."""

    @staticmethod
    def own_rows(num_rows):
        return slice(0, num_rows // 2)


def test_processes_together_read_what_one_would_in_the_same_order():
    def read(strategy):
        return list(training_batches(inputs_of(np.uint8), ROWS, LABELS, batch_size=3, strategy=strategy))

    for (whole, labels, size), first, second in zip(read(Alone), read(FirstOfTwo), read(SecondOfTwo), strict=True):
        np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), whole)
        np.testing.assert_array_equal(np.concatenate([first[1], second[1]]), labels)
        assert first[2] == second[2] == size


def test_fault_of_the_input_reaches_the_training():
    class Broken:
        shape, dtype = (5, 1), np.float32

        def __getitem__(self, rows):
            raise OSError("disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        list(training_batches(Broken(), ROWS, LABELS, batch_size=2, strategy=Alone))


@pytest.mark.model
@pytest.mark.parametrize("augment", [[], ["flip"]], ids=["stored features", "pictures"])
def test_epoch_trains_on_every_picture_once_with_its_own_label(make_toy, make_data, record_batches, augment):
    toy = make_toy({"epochs": 2}, data=make_data(train=21), augment=augment)
    batches, run = record_batches(), toy.phase_run()

    for epoch in range(2):
        run.fit_epoch(epoch, [], Quiet())

    inputs, labels = (np.concatenate(one) for one in zip(*batches, strict=True))
    rows = toy.data.rows["train"]
    pictures = toy.data.images[rows] if augment else toy.features().computed(3, "train")[np.arange(21)]
    expected = label_by_values(pictures, toy.data.labels[rows])
    assert len(expected) == 21
    for epoch in (slice(0, 21), slice(21, 42)):
        assert label_by_values(inputs[epoch], labels[epoch].argmax(axis=1)) == expected
    assert [len(batch) for batch, _ in batches] == [8, 8, 5] * 2
    assert not np.array_equal(labels[:21], labels[21:])


def label_by_values(inputs, labels) -> dict:
    """The label of each input; its values are sorted, so that a flipped picture is the same one."""
    return {tuple(np.sort(one, axis=None)): int(label) for one, label in zip(inputs, labels, strict=True)}
