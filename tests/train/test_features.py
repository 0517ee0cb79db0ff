"""What is frozen is computed once, and nothing out of date is used."""

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.train import features as features_module
from transferkit.train.features import features_mb
from transferkit.train.forward import compute_outputs

pytestmark = pytest.mark.model

# A float32 sum in another order is off by some 1e-7 of its size; a few steps at these rates carry that into weights
# of size 0.1 to 1. (Measured: below 1e-7.)
ROUNDING = 2e-6


@pytest.fixture
def no_memory(monkeypatch):
    """From here on no features fit."""
    return lambda: monkeypatch.setattr(features_module, "_MEMORY_SHARE", 0.0)


class Told(Quiet):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def computed(toy, cut, split):
    """A split's features, computed anew."""
    rows = toy.data.rows[split]
    return compute_outputs(toy.classifier.lower(cut), toy.data.images, rows, batch_size=toy.recipe.data.batch_size)


@pytest.mark.parametrize(
    "phase",
    [
        {"train": "head"},
        {"train": {"last_stages": 1}},
        {"train": {"last_stages": 2}, "batch_norm": "train", "stage_decay": 0.5},
    ],
    ids=["head", "last stage", "last two stages"],
)
def test_phase_on_stored_features_trains_the_same_weights_as_the_undivided_network(make_toy, no_memory, phase):
    settings = {"optimizer": {"name": "sgd"}, "epochs": 2, **phase}
    divided, undivided = make_toy(settings), make_toy(settings)

    stored = divided.train()
    no_memory()
    unstored = undivided.train()

    start, expected = make_toy(settings).weights(), undivided.weights()
    assert max(np.abs(expected[path] - start[path]).max() for path in start) > 1e-3
    for path, weights in divided.weights().items():
        np.testing.assert_allclose(weights, expected[path], rtol=0, atol=ROUNDING, err_msg=path)
    assert stored.epochs[-1].val_loss == pytest.approx(unstored.epochs[-1].val_loss, abs=ROUNDING)


def test_phase_without_memory_says_how_much_it_would_need(make_toy, make_data, no_memory):
    # Each picture's features are 4 x 4 x 16 numbers of 4 bytes: 1 kB.
    toy, progress = make_toy({"train": {"last_stages": 1}}, data=make_data(train=1536)), Told()
    no_memory()

    toy.train(progress)

    (line,) = [line for line in progress.lines if "memory" in line]
    assert line == (
        "phase: the frozen part's features need 1.5 MB of memory, more than is free; they are computed in every epoch"
    )


@pytest.mark.parametrize(
    ("augment", "phase", "stored"),
    [
        ([], {}, True),
        (["flip"], {}, False),
        (["flip"], {"augment": False}, True),
        ([], {"train": "all"}, False),
    ],
    ids=["no augmentation", "augmentation", "augmentation switched off", "nothing is frozen"],
)
def test_training_pictures_are_stored_as_features_only_without_random_augmentation(make_toy, augment, phase, stored):
    toy = make_toy(phase, augment=augment)

    run = toy.phase_run()

    assert (run.inputs is not toy.data.images) == stored
    assert run.inputs.shape == ((24, 24) if stored else toy.data.images.shape)


def test_validation_pictures_are_stored_as_features_also_under_augmentation(make_toy):
    toy = make_toy({"train": {"last_stages": 1}}, augment=["flip"])

    run = toy.phase_run()

    np.testing.assert_array_equal(run.val_inputs, computed(toy, 2, "validation"))


def test_features_are_those_of_the_split_s_pictures_in_order_bit_for_bit(make_toy):
    toy = make_toy({})
    store = toy.store()

    for cut in (1, 2, 3):
        for split in ("train", "validation"):
            np.testing.assert_array_equal(store.features(cut, split), computed(toy, cut, split))


def test_features_are_computed_once_for_all_phases_at_the_same_cut(make_toy, monkeypatch):
    toy, calls = make_toy({}, {}, {"train": {"last_stages": 1}}), []

    def count(network, inputs, rows, **options):
        calls.append(len(rows))
        return compute_outputs(network, inputs, rows, **options)

    monkeypatch.setattr(features_module, "compute_outputs", count)
    toy.train()

    # Validation and training pictures for the head's two phases, and for the last one.
    assert calls == [10, 24, 10, 24]


def test_phase_drops_the_features_that_its_training_makes_out_of_date(make_toy):
    toy = make_toy({}, {"train": {"last_stages": 2}, "batch_norm": "train"}, {})
    store = toy.store()
    old = toy.phase_run(0, store=store).inputs

    second = toy.phase_run(1, store=store)
    second.fit_epoch(0, [], Quiet())
    last = toy.phase_run(2, store=store)

    np.testing.assert_array_equal(last.inputs, computed(toy, 3, "train"))
    np.testing.assert_array_equal(last.val_inputs, computed(toy, 3, "validation"))
    assert np.abs(last.inputs - old).max() > 1e-3
    np.testing.assert_array_equal(second.inputs, computed(toy, 1, "train"))  # below what trained: still right


def test_phase_frees_the_memory_of_features_above_before_it_stores_its_own(make_toy):
    toy = make_toy({}, {"train": {"last_stages": 1}})
    store = toy.store()
    toy.phase_run(0, store=store)

    toy.phase_run(1, store=store)

    assert {cut for _, cut in store._kept} == {2}


def test_features_mb_counts_four_bytes_for_each_number():
    assert features_mb((16, 16, 1024), 4) == 4.0
