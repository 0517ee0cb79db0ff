"""Steps on weighted and repeated pictures, with and without focal loss, against NumPy in float64."""

from dataclasses import replace

import numpy as np
import pytest

from transferkit.data.balance import balance_training
from transferkit.progress import Quiet
from transferkit.train.batches import epoch_order

pytestmark = pytest.mark.model

RATE, BATCH_SIZE = 0.5, 6
COUNTS = (2, 3, 8)
SGD = {"optimizer": {"name": "sgd", "momentum": 0.0}, "weight_decay": 0.0, "learning_rate": RATE, "epochs": 2}
# Two epochs of float32 steps, with features of size 1.
FLOAT32 = 2e-6


def class_weights(labels, kind):
    """By the formulas of the documentation, before they are brought to mean 1."""
    counts = np.bincount(labels).astype(float)
    if kind == "class_weight":
        return (1 / counts)[labels]
    if kind == {"effective_number": 0.9}:
        return ((1 - 0.9) / (1 - 0.9**counts))[labels]
    return np.ones(len(labels))


def focal_gradient(logits, label, gamma):
    """Of -(1 - p)^gamma ln p, by the logits; gamma 0 is cross-entropy."""
    p = np.exp(logits - logits.max())
    p /= p.sum()
    true = p[label]
    by_true = (gamma * (1 - true) ** (gamma - 1) * np.log(true) if gamma else 0.0) - (1 - true) ** gamma / true
    return by_true * true * ((np.arange(len(p)) == label) - p)


def train_head(features, labels, weights, batches, kernel, bias, *, gamma):
    """The head after plain gradient steps; each divides by the number of rows, weights or not."""
    for positions in batches:
        toward, shift = np.zeros_like(kernel), np.zeros_like(bias)
        for row in positions:
            gradient = weights[row] * focal_gradient(features[row] @ kernel + bias, labels[row], gamma)
            toward += np.outer(features[row], gradient) / len(positions)
            shift += gradient / len(positions)
        kernel, bias = kernel - RATE * toward, bias - RATE * shift
    return kernel, bias


def batches_of(toy):
    """Positions in the training split, batch by batch, of both epochs."""
    balance, found = balance_training(toy.data, toy.recipe.data), []
    for epoch in range(2):
        order = epoch_order(balance.pictures_per_epoch, seed=0, epoch=epoch)
        positions = balance.positions(seed=0, epoch=epoch)[order]
        found += [positions[first : first + BATCH_SIZE] for first in range(0, len(positions), BATCH_SIZE)]
    return found


def features_of(toy):
    from keras import Model

    network, images = toy.classifier.network, toy.data.images[toy.data.rows["train"]]
    lower = Model(network.input, network.get_layer("logits").input)
    return np.asarray(lower(images.astype(np.float32), training=False)).astype(float)


@pytest.mark.parametrize(
    ("imbalance", "gamma", "own", "parts"),
    [
        ("none", 0, True, 1),
        ("class_weight", 0, False, 1),
        ("class_weight", 2, True, 4),
        ({"effective_number": 0.9}, 0, True, 4),
        ("oversample", 0, True, 1),
        ("oversample", 1.5, False, 4),
    ],
    ids=str,
)
def test_the_head_moves_by_the_formula(make_toy, make_unbalanced, imbalance, gamma, own, parts):
    data = make_unbalanced(COUNTS)
    if own:
        data = replace(data, weights=np.linspace(0, 3, len(data.weights), dtype=np.float32))
    toy = make_toy(
        SGD, data=data, pictures={"batch_size": BATCH_SIZE, "imbalance": imbalance},
        loss={"focal": {"gamma": gamma}} if gamma else "cross_entropy",
        runtime={"gradient_accumulation_steps": parts},
    )  # fmt: skip
    start, run = toy.weights(), toy.phase_run()

    for epoch in range(2):
        run.fit_epoch(epoch, [], Quiet())

    moved, rows, batches = toy.weights(), data.rows["train"], batches_of(toy)
    labels = data.labels[rows]
    weights = class_weights(labels, imbalance) * data.weights[rows]
    times = max(COUNTS) / np.array(COUNTS)[labels] if imbalance == "oversample" else None
    weights /= np.average(weights, weights=times)
    head = start["logits/kernel"].astype(float), start["logits/bias"].astype(float)
    kernel, bias = train_head(features_of(toy), labels, weights, batches, *head, gamma=gamma)
    assert np.abs(kernel - head[0]).max() > 1e-2
    np.testing.assert_allclose(moved["logits/kernel"], kernel, rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(moved["logits/bias"], bias, rtol=0, atol=FLOAT32)
    assert sum(map(len, batches)) == 2 * (24 if imbalance == "oversample" else 13)
