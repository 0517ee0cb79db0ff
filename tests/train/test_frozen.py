"""What is frozen stays bit for bit; what trains moves."""

import numpy as np
import pytest

from transferkit.train.apply import apply_trainable

pytestmark = pytest.mark.model

PHASES = {
    "head": {"train": "head"},
    "head, batch norm affine": {"train": "head", "batch_norm": "affine"},
    "head, batch norm train": {"train": "head", "batch_norm": "train"},
    "last stage": {"train": {"last_stages": 1}},
    "last stage, batch norm affine": {"train": {"last_stages": 1}, "batch_norm": "affine"},
    "last two stages, batch norm train": {"train": {"last_stages": 2}, "batch_norm": "train"},
    "from inside a stage": {"train": {"from_layer": "inner_conv"}, "batch_norm": "train"},
    "pattern": {"train": {"pattern": "^(first|third)_conv$"}},
    "pattern of batch norm": {"train": {"pattern": "inner_norm"}, "batch_norm": "train"},
    "bias": {"train": "bias"},
    "norm": {"train": "norm"},
    "all, batch norm frozen": {"train": "all"},
    "all, batch norm train": {"train": "all", "batch_norm": "train"},
}


def statistics_that_move(phase) -> set[str]:
    """By the rule: statistics of the layers whose gamma or beta trains, and only in mode `train`."""
    layers = {path.split("/")[0] for path in phase.trainable if path.endswith(("/gamma", "/beta"))}
    names = ("moving_mean", "moving_variance")
    return {f"{layer}/{name}" for layer in layers for name in names} if phase.spec.batch_norm == "train" else set()


@pytest.mark.parametrize("settings", PHASES.values(), ids=PHASES)
def test_phase_moves_exactly_what_it_says_and_leaves_the_rest_bit_identical(make_toy, settings):
    toy = make_toy(settings, augment=["flip"])
    (phase,) = toy.schedule
    before = toy.weights()

    toy.train()

    after = toy.weights()
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == phase.trainable | statistics_that_move(phase)


def test_later_phase_leaves_alone_what_an_earlier_one_trained(make_toy):
    toy = make_toy({"train": "all", "batch_norm": "train"}, {"train": "head", "batch_norm": "train"})
    toy.train(schedule=toy.schedule[:1])
    before = toy.weights()

    toy.train(schedule=toy.schedule[1:])

    after = toy.weights()
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize("batch_norm", ["frozen", "affine"])
def test_network_with_fixed_statistics_gives_the_same_in_training_and_in_inference(make_toy, batch_norm):
    toy = make_toy({"train": "all", "batch_norm": batch_norm})
    network, images = toy.classifier.network, toy.data.images[:8].astype(np.float32)

    apply_trainable(toy.classifier, toy.schedule[0].trainable, batch_norm=batch_norm)

    np.testing.assert_array_equal(network(images, training=True), network(images, training=False))


def test_network_in_mode_train_uses_the_batch_s_statistics(make_toy):
    toy = make_toy({"train": "all", "batch_norm": "train"})
    network, images = toy.classifier.network, toy.data.images[:8].astype(np.float32)

    apply_trainable(toy.classifier, toy.schedule[0].trainable, batch_norm="train")

    assert np.abs(network(images, training=True) - network(images, training=False)).max() > 1e-3


def test_applied_lists_what_trains_and_what_moves_by_itself_in_the_network_s_order(make_toy):
    toy = make_toy({"train": {"last_stages": 1}, "batch_norm": "train"})

    applied = apply_trainable(toy.classifier, toy.schedule[0].trainable, batch_norm="train")

    weights = toy.classifier.weights()
    assert all(variable is weights[path] for path, variable in applied.moving.items())
    assert list(applied.trained) == [
        "third_conv/kernel",
        "third_conv/bias",
        "third_norm/gamma",
        "third_norm/beta",
        "logits/kernel",
        "logits/bias",
    ]
    assert list(applied.statistics) == ["third_norm/moving_mean", "third_norm/moving_variance"]
