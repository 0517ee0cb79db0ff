"""Outputs for many rows, each once."""

import numpy as np
import pytest

from transferkit.train.forward import compute_outputs, log_softmax

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def toy(make_toy):
    return make_toy({})


def one_by_one(toy, rows):
    """Outputs of rows that each stand in the first place of a batch of 4, with others behind them."""
    others = toy.data.images[:3].astype(np.float32)
    batches = [np.concatenate([toy.data.images[row : row + 1].astype(np.float32), others]) for row in rows]
    return np.array([toy.classifier.network(batch, training=False)[0] for batch in batches])


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 8, 11])
def test_outputs_are_those_of_the_rows_in_their_order_at_any_number_of_them(toy, num_rows):
    rows = np.random.default_rng(num_rows).permutation(len(toy.data.images))[:num_rows]

    found = compute_outputs(toy.classifier.network, toy.data.images, rows, batch_size=4)

    # The same sums in another place of a batch: rounding of float32 at outputs of size 1.
    np.testing.assert_allclose(found, one_by_one(toy, rows), atol=1e-5)
    assert found.shape == (num_rows, 3)
    assert found.dtype == np.float32


def test_padding_of_the_last_batch_changes_no_bit_of_it(toy):
    network, images = toy.classifier.network, toy.data.images

    whole = compute_outputs(network, images, np.arange(8), batch_size=8)
    padded = compute_outputs(network, images, np.arange(5), batch_size=8)

    np.testing.assert_array_equal(padded, whole[:5])


def test_every_batch_has_the_same_shape(toy, monkeypatch):
    network, shapes = toy.classifier.network, []
    predict_on_batch = network.predict_on_batch

    def watch(batch):
        shapes.append(batch.shape)
        return predict_on_batch(batch)

    monkeypatch.setattr(network, "predict_on_batch", watch)
    compute_outputs(network, toy.data.images, np.arange(10), batch_size=4)

    assert shapes == [(4, 32, 32, 3)] * 3


def test_outputs_of_no_rows_are_an_empty_table(toy):
    assert compute_outputs(toy.classifier.network, toy.data.images, [], batch_size=4).shape == (0, 3)


def test_bytes_and_floats_give_the_same_bits(toy):
    network, images = toy.classifier.network, toy.data.images

    from_bytes = compute_outputs(network, images, np.arange(6), batch_size=4)
    from_floats = compute_outputs(network, images.astype(np.float32), np.arange(6), batch_size=4)

    np.testing.assert_array_equal(from_bytes, from_floats)


def test_task_is_told_of_every_row(toy):
    told = []

    class Task:
        def advance(self, count=1, note=""):
            told.append(count)

    compute_outputs(toy.classifier.network, toy.data.images, np.arange(10), batch_size=4, task=Task())

    assert told == [4, 4, 2]


def test_log_softmax_is_the_logarithm_of_the_softmax():
    # softmax of (0, ln 3) is (1/4, 3/4)
    found = log_softmax(np.array([[0.0, np.log(3.0)]], np.float32))

    np.testing.assert_allclose(found, [[np.log(0.25), np.log(0.75)]], rtol=1e-6)


def test_log_softmax_of_extreme_logits_is_finite():
    found = log_softmax(np.array([[1e30, 0.0], [-1e30, -1e30]], np.float32))

    np.testing.assert_allclose(found, [[0.0, -1e30], [np.log(0.5), np.log(0.5)]], rtol=1e-6)


def test_log_softmax_of_infinite_logits_is_no_number():
    assert np.isnan(log_softmax(np.array([[np.inf, 0.0]], np.float32))).any()
