"""Pictures that count more or less: what a step makes of their weights."""

from dataclasses import replace

import numpy as np
import pytest

from transferkit.progress import Quiet

pytestmark = pytest.mark.model

RATE = 0.05
SGD = {"train": "all", "optimizer": {"name": "sgd", "momentum": 0.0}, "weight_decay": 0.0, "learning_rate": RATE}
ONE_BATCH = {"batch_size": 64}
# Some float32 operations on weights of size 1.
FLOAT32 = 1e-6


def weigh(data, positions, weight):
    """The same pictures; some of the training split have another weight."""
    weights = data.weights.copy()
    weights[data.rows["train"][positions]] = weight
    return replace(data, weights=weights)


def train_on(data, positions):
    """The same pictures; the training split holds those at `positions` of it, as often as they stand there."""
    return replace(data, rows={**data.rows, "train": data.rows["train"][positions]})


def one_epoch(make_toy, data, phase=SGD, **options):
    """Its row, and how far each weight went."""
    toy = make_toy(phase, data=data, **options)
    start = toy.weights()
    row, _ = toy.phase_run().fit_epoch(0, [], Quiet())
    return row, {path: value - start[path] for path, value in toy.weights().items()}


def assert_close(found, expected, atol=FLOAT32):
    assert max(np.abs(one).max() for one in expected.values()) > 1e-3  # something moves
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], rtol=0, atol=atol, err_msg=path)


def gradients_of(trainer, inputs, labels) -> dict[str, np.ndarray]:
    import tensorflow as tf

    with tf.GradientTape() as tape, trainer.draws.at(0):
        objective, _ = trainer.objective(*trainer.mixed(inputs, labels), share=1 / len(labels))
    found = tape.gradient(objective, [variable.value for variable in trainer.trained.values()])
    return dict(zip(trainer.trained, (one.numpy() for one in found), strict=True))


@pytest.mark.parametrize(
    ("loss", "weight"),
    [("cross_entropy", 0.25), ("focal", 3.0), ({"cross_entropy": {"label_smoothing": 0.2}}, 3.0)],
    ids=["cross-entropy", "focal", "smoothed"],
)
def test_gradient_of_a_picture_is_multiplied_by_its_weight(make_toy, make_data, weight, loss):
    toy = make_toy(SGD, data=weigh(make_data(train=8), [0], 2), loss=loss)
    trainer, images = toy.phase_run().trainer, toy.data.images[:1]

    plain, weighted = (
        gradients_of(trainer, images, np.array([[toy.data.labels[0], own]], np.float32)) for own in (1, weight)
    )

    assert_close(weighted, {path: weight * one for path, one in plain.items()})


@pytest.mark.parametrize(
    "options", [{}, {"loss": "focal"}, {"runtime": {"gradient_accumulation_steps": 2}}], ids=["plain", "focal", "parts"]
)
def test_a_picture_of_weight_3_counts_like_three_of_it(make_toy, make_data, options):
    data = make_data(train=8)

    row, moved = one_epoch(make_toy, weigh(data, [5], 3), pictures=ONE_BATCH, **options)

    expected_row, expected = one_epoch(make_toy, train_on(data, [*range(8), 5, 5]), pictures=ONE_BATCH, **options)
    assert_close(moved, expected)
    assert row.loss == pytest.approx(expected_row.loss, abs=1e-5)


def test_a_picture_of_weight_0_has_no_influence(make_toy, make_data):
    data = make_data(train=8)

    row, moved = one_epoch(make_toy, weigh(data, [2, 6], 0), pictures=ONE_BATCH)

    expected_row, expected = one_epoch(make_toy, train_on(data, [0, 1, 3, 4, 5, 7]), pictures=ONE_BATCH)
    assert_close(moved, expected)
    assert row.loss == pytest.approx(expected_row.loss, abs=1e-5)


def test_weights_of_a_batch_are_not_those_of_another(make_toy, make_data):
    # At a rate of nothing the loss of an epoch is the mean of weight times loss, in whatever order and batches.
    data = make_data(train=11)
    data = replace(data, weights=np.linspace(0, 2, len(data.weights), dtype=np.float32))
    toy = make_toy({**SGD, "learning_rate": 1e-30}, data=data)

    row, _ = toy.phase_run().fit_epoch(0, [], Quiet())

    rows = data.rows["train"]
    logits = np.asarray(toy.classifier.network(data.images[rows].astype(np.float32), training=False)).astype(float)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(11), data.labels[rows]]
    assert row.loss == pytest.approx(np.average(losses, weights=data.weights[rows]), abs=1e-5)
    assert row.accuracy == pytest.approx((logits.argmax(axis=1) == data.labels[rows]).mean(), abs=1e-6)


def test_validation_is_not_weighted(make_toy, make_unbalanced):
    phase = {**SGD, "learning_rate": 1e-30}
    data = make_unbalanced()
    weights = np.linspace(0, 2, len(data.weights), dtype=np.float32)

    plain, _ = one_epoch(make_toy, data, phase)
    weighted, _ = one_epoch(make_toy, replace(data, weights=weights), phase, pictures={"imbalance": "class_weight"})

    assert (weighted.val_loss, weighted.val_accuracy) == (plain.val_loss, plain.val_accuracy)
    assert weighted.loss != plain.loss


def test_class_weights_step_like_oversampling(make_toy, make_unbalanced):
    # 2, 4 and 8 pictures: an epoch that repeats whole classes is exactly what weights stand for.
    data = make_unbalanced((2, 4, 8))

    weighted, repeated, plain = (
        one_epoch(make_toy, data, pictures={**ONE_BATCH, "imbalance": kind})
        for kind in ("class_weight", "oversample", "none")
    )

    assert_close(weighted[1], repeated[1])
    assert weighted[0].loss == pytest.approx(repeated[0].loss, abs=1e-5)
    assert np.abs(weighted[1]["logits/bias"] - plain[1]["logits/bias"]).max() > 1e-3


@pytest.mark.parametrize("reads", ["stored features", "pictures"])
def test_oversampled_epoch_trains_on_each_class_equally_often(make_toy, make_unbalanced, record_batches, reads):
    augment = ["flip"] if reads == "pictures" else []
    toy = make_toy({"epochs": 2}, data=make_unbalanced(), augment=augment, pictures={"imbalance": "oversample"})
    batches, run = record_batches(), toy.phase_run()

    for epoch in range(2):
        run.fit_epoch(epoch, [], Quiet())

    assert [len(labels) for _, labels in batches] == [8, 8, 8] * 2
    for epoch in (slice(0, 3), slice(3, 6)):
        inputs, labels = (np.concatenate(one) for one in zip(*batches[epoch], strict=True))
        np.testing.assert_array_equal(labels.sum(axis=0), [8, 8, 8])
        assert len({np.sort(one, axis=None).tobytes() for one in inputs}) == 13


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_pictures_bring_their_labels_with_their_own_weights(make_toy, make_unbalanced, record_batches, kind):
    data = make_unbalanced()
    toy = make_toy(
        {"train": "all"}, data=data, augment=[{kind: {"alpha": 1.0}}],
        pictures={**ONE_BATCH, "imbalance": "class_weight"},
    )  # fmt: skip
    batches, run, start = record_batches(), toy.phase_run(), toy.weights()

    row, _ = run.fit_epoch(0, [], Quiet())

    ((inputs, labels),) = batches
    plain, shares, weights = labels[:, :3], labels[:, 3:6], labels[:, 6]
    by_class = 13 / (3 * np.array([2, 3, 8]))
    assert ((plain > 0) & (plain < 1)).any()
    np.testing.assert_allclose(shares, plain * by_class, rtol=1e-5)
    np.testing.assert_allclose(weights, shares.sum(axis=1), rtol=1e-5)
    toy.assign(start)
    logits = np.asarray(run.trainer.network(inputs, training=False)).astype(float)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert row.loss == pytest.approx(-(shares * logs).sum(axis=1).mean(), abs=1e-5)


def test_weights_reach_a_phase_with_views(make_toy, make_data):
    views = {"train": "head", "views": 1, "learning_rate": RATE, "optimizer": "sgd", "weight_decay": 0.0}
    data = make_data(train=8)

    _, moved = one_epoch(make_toy, weigh(data, [2, 6], 0), views, augment=["flip"], pictures=ONE_BATCH)

    _, plain = one_epoch(make_toy, data, views, augment=["flip"], pictures=ONE_BATCH)
    assert np.abs(moved["logits/kernel"] - plain["logits/kernel"]).max() > 1e-4
