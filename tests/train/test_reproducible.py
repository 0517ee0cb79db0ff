"""One seed, one result; draws that depend on the seed, the phase and the step, and on nothing before them."""

import numpy as np
import pytest

from transferkit.progress import Quiet

pytestmark = pytest.mark.model

PHASES = (
    {"epochs": 2, "augment": False},
    {"name": "two", "train": {"last_stages": 2}, "batch_norm": "train", "learning_rate": 1e-3},
)
SECTIONS = {
    "augment": ["flip", {"rotate": 10}, {"mixup": {"alpha": 0.4}}],
    "model": {"weights": "none", "head": {"dropout": 0.5, "hidden": [8]}},
}
# Too small a rate to change a float32: the weights stay, all else goes its way.
NO_RATE = 1e-30


def random_work() -> None:
    """Draws from every generator that somebody else may have used."""
    import random

    import keras

    random.random()
    np.random.default_rng().random()
    keras.random.uniform((3,))
    keras.layers.Dropout(0.5)(np.ones((2, 2), np.float32), training=True)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_two_runs_with_one_seed_are_bit_identical(make_toy, precision):
    first = make_toy(*PHASES, precision=precision, **SECTIONS)
    history = first.train().epochs
    random_work()
    second = make_toy(*PHASES, precision=precision, **SECTIONS)

    again = second.train().epochs

    expected = first.weights()
    for path, weights in second.weights().items():
        np.testing.assert_array_equal(weights, expected[path], err_msg=path)
    assert [(row.loss, row.val_loss) for row in again] == [(row.loss, row.val_loss) for row in history]


def test_another_seed_gives_another_start_and_another_result(make_toy):
    results = [make_toy(*PHASES, seed=seed, **SECTIONS).train().epochs[-1].loss for seed in (0, 1)]

    assert results[0] != results[1]


def test_seed_alone_changes_order_and_draws_on_equal_networks(make_toy, record_batches):
    first, second = make_toy({"learning_rate": NO_RATE}, augment=["flip"]), make_toy({}, augment=["flip"], seed=1)
    batches = record_batches()

    for toy in (first, second):
        toy.phase_run().fit_epoch(0, [], Quiet())

    assert not np.array_equal(batches[0][0], batches[3][0])


def test_phase_gives_the_same_whatever_ran_before(make_toy):
    phases = ({"learning_rate": NO_RATE, "epochs": 2, "weight_decay": 0.0}, {"train": {"last_stages": 1}, "epochs": 2})
    whole, part = make_toy(*phases, **SECTIONS), make_toy(*phases, **SECTIONS)

    whole_rows = whole.train().epochs
    random_work()
    part_rows = part.train(schedule=part.schedule[1:]).epochs

    assert [row.loss for row in whole_rows[2:]] == [row.loss for row in part_rows]


def test_phase_s_optimizer_starts_afresh(make_toy):
    """The second phase's steps follow from the weights that it finds, not from the first one's moments."""
    phases = ({"train": "all", "epochs": 2}, {"train": "all", "name": "two", "ramp_epochs": 1})
    whole, part = make_toy(*phases), make_toy(*phases)
    first = whole.phase_run(0)
    for epoch in range(2):
        first.fit_epoch(epoch, [], Quiet())
    between = whole.weights()
    part.assign(between)

    second = whole.phase_run(1)
    assert int(second.trainer.optimizer.iterations.numpy()) == 0
    second.fit_epoch(0, [], Quiet())
    part.phase_run(1).fit_epoch(0, [], Quiet())

    expected = part.weights()
    for path, weights in whole.weights().items():
        np.testing.assert_array_equal(weights, expected[path], err_msg=path)


@pytest.fixture
def one_picture(make_data, with_pictures):
    """Data whose training pictures are all the same one, so that only draws can tell batches apart."""
    data = make_data(train=8)
    return with_pictures(data, np.repeat(data.images[:1], len(data.images), axis=0))


def test_draws_differ_between_the_steps_of_a_phase_between_phases_and_between_pictures(
    make_toy, one_picture, record_batches
):
    toy = make_toy({"epochs": 2}, {"epochs": 2}, data=one_picture, augment=[{"rotate": 90}])
    batches = record_batches()

    for index in range(2):
        run = toy.phase_run(index)
        for epoch in range(2):
            run.fit_epoch(epoch, [], Quiet())

    images = np.concatenate([images for images, _ in batches])
    assert len(np.unique(images, axis=0)) == len(images) == 32


def test_draws_of_a_step_are_the_same_in_every_run(make_toy, one_picture, record_batches):
    settings, options = {"epochs": 3}, {"data": one_picture, "augment": [{"rotate": 90}, {"zoom": 0.5}]}
    batches = record_batches()

    for _ in range(2):
        run = make_toy(settings, **options).phase_run()
        for epoch in range(3):
            run.fit_epoch(epoch, [], Quiet())
            random_work()

    for (first, _), (again, _) in zip(batches[:3], batches[3:], strict=True):
        np.testing.assert_array_equal(first, again)
