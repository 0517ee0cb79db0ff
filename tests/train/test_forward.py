"""Outputs for many rows, each once."""

import numpy as np
import pytest

from transferkit.train.forward import _warn_of_places, compute_outputs, fitting_batch_size

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def toy(make_toy):
    return make_toy({})


def outputs(toy, rows, *, inputs=None, network=None, **options):
    """Of the whole network, for some rows."""
    forward = toy.strategy.forward([network or toy.classifier.network])
    inputs = toy.data.images if inputs is None else inputs
    (found,) = compute_outputs(forward, inputs, rows, strategy=toy.strategy, **options)
    return found


def one_by_one(toy, rows):
    """Outputs of rows that each stand in the first place of a batch of 4, with others behind them."""
    others = toy.data.images[:3].astype(np.float32)
    batches = [np.concatenate([toy.data.images[row : row + 1].astype(np.float32), others]) for row in rows]
    return np.array([toy.classifier.network(batch, training=False)[0] for batch in batches])


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 8, 11])
def test_outputs_are_those_of_the_rows_in_their_order_at_any_number_of_them(toy, num_rows):
    rows = np.random.default_rng(num_rows).permutation(len(toy.data.images))[:num_rows]

    found = outputs(toy, rows, batch_size=4)

    # The same sums in another place of a batch: rounding of float32 at outputs of size 1.
    np.testing.assert_allclose(found, one_by_one(toy, rows), atol=1e-5)
    assert found.shape == (num_rows, 3)
    assert found.dtype == np.float32


def test_padding_of_the_last_batch_changes_no_bit_of_it(toy):
    whole, padded = (outputs(toy, np.arange(count), batch_size=8) for count in (8, 5))

    np.testing.assert_array_equal(padded, whole[:5])


@pytest.mark.parametrize("depends", [True, False])
def test_outputs_that_depend_on_the_place_in_a_batch_are_warned_of(toy, caplog, depends):
    def forward(rows):
        place = np.arange(len(rows)) if depends else 0.0
        return [rows.mean((1, 2, 3))[:, None] + np.reshape(place, (-1, 1)) * 1e-4]

    _warn_of_places.cache_clear()
    for _ in range(2):
        compute_outputs(forward, toy.data.images, np.arange(11), strategy=toy.strategy, batch_size=4)

    assert caplog.text.count("by its place in a batch") == depends


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_features_are_the_same_bits_at_any_place_and_beside_any_others(toy, cut):
    rows = np.arange(len(toy.data.images))
    forward = toy.strategy.forward(toy.classifier.stage_networks(cut))
    (expected,) = compute_outputs(forward, toy.data.images, rows, strategy=toy.strategy)

    for seed in range(5):
        chosen = np.random.default_rng(seed).permutation(rows)[: 7 * seed + 1]
        (found,) = compute_outputs(forward, toy.data.images, chosen, strategy=toy.strategy)
        np.testing.assert_array_equal(found, expected[chosen])


def test_every_batch_has_the_same_shape(toy):
    shapes = []

    def forward(rows):
        shapes.append(rows.shape)
        return [rows]

    compute_outputs(forward, toy.data.images, np.arange(10), strategy=toy.strategy, batch_size=4)

    assert shapes == [(4, 32, 32, 3)] * 3


def test_one_pass_gives_what_enters_several_stages(toy):
    stages, rows = toy.classifier.stage_networks(3), np.arange(5)

    together = compute_outputs(toy.strategy.forward(stages, keep=[0, 2]), toy.data.images, rows, strategy=toy.strategy)

    for cut, found in zip((1, 3), together, strict=True):
        alone = toy.strategy.forward(stages[:cut])
        (expected,) = compute_outputs(alone, toy.data.images, rows, strategy=toy.strategy)
        np.testing.assert_array_equal(found, expected)


def test_bytes_and_floats_give_the_same_bits(toy):
    from_bytes, from_floats = (
        outputs(toy, np.arange(6), inputs=toy.data.images.astype(dtype), batch_size=4) for dtype in ("uint8", "float32")
    )

    np.testing.assert_array_equal(from_bytes, from_floats)


def test_task_is_told_of_every_row(toy):
    told = []

    class Task:
        def advance(self, count=1, note=""):
            told.append(count)

    outputs(toy, np.arange(10), batch_size=4, task=Task())

    assert told == [4, 4, 2]


@pytest.mark.parametrize(("num_rows", "size"), [(1, 1), (2, 2), (3, 4), (31, 32), (32, 32), (33, 32), (1000, 32)])
def test_few_rows_take_a_small_batch(num_rows, size):
    assert fitting_batch_size(num_rows) == size
