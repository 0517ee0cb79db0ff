"""Losses of single pictures, against their definitions in float64."""

import numpy as np
import pytest

from transferkit.recipe.loss import LOSS_SPECS, BinaryCrossEntropy, CrossEntropy, Focal
from transferkit.train.losses import LOSSES, log_softmax

pytestmark = pytest.mark.model

# float32 logits of size 3.
FLOAT32 = 2e-6
LOGITS = np.random.default_rng(0).normal(0, 3, (40, 5)).astype(np.float32)
CLASSES = np.arange(40) % 5
ONE_HOT = np.eye(5, dtype=np.float32)[CLASSES]
SEVERAL = np.random.default_rng(1).random((40, 5)) < 0.4


def in_training(loss, targets, logits=LOGITS) -> np.ndarray:
    return np.asarray(LOSSES[loss.kind].in_training(loss, targets.astype(np.float32), logits))


def on_validation(loss, labels, logits=LOGITS) -> np.ndarray:
    return LOSSES[loss.kind].on_validation(loss, labels, logits)


def softmax(logits=LOGITS) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def gradients(loss, targets, logits) -> np.ndarray:
    import tensorflow as tf

    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(LOSSES[loss.kind].in_training(loss, targets.astype(np.float32), logits))
    return tape.gradient(total, logits).numpy()


def test_table_has_a_row_for_every_loss_of_the_recipe():
    assert set(LOSSES) == {spec.model_fields["kind"].default for spec in LOSS_SPECS}


def test_cross_entropy_is_minus_the_logarithm_of_the_true_class():
    expected = -np.log(softmax()[np.arange(40), CLASSES])

    np.testing.assert_allclose(in_training(CrossEntropy(), ONE_HOT), expected, atol=FLOAT32)
    np.testing.assert_allclose(on_validation(CrossEntropy(), CLASSES), expected, rtol=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_cross_entropy_times_a_power_of_the_doubt(gamma):
    p = softmax()[np.arange(40), CLASSES]
    expected = (1 - p) ** gamma * -np.log(p)

    np.testing.assert_allclose(in_training(Focal(gamma=gamma), ONE_HOT), expected, atol=FLOAT32)
    np.testing.assert_allclose(on_validation(Focal(gamma=gamma), CLASSES), expected, rtol=1e-9)


def test_focal_with_gamma_near_0_is_cross_entropy_with_its_gradients():
    nearly = Focal(gamma=1e-9)

    np.testing.assert_allclose(in_training(nearly, ONE_HOT), in_training(CrossEntropy(), ONE_HOT), atol=FLOAT32)
    np.testing.assert_allclose(
        gradients(nearly, ONE_HOT, LOGITS), gradients(CrossEntropy(), ONE_HOT, LOGITS), atol=FLOAT32
    )


@pytest.mark.parametrize("loss", [Focal(gamma=0.5), Focal(), BinaryCrossEntropy(), CrossEntropy()], ids=str)
def test_gradients_stay_finite_where_a_picture_is_sure(loss):
    logits = np.array([[200, 0, 0, 0, -200], [0, 200, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)

    for targets in (ONE_HOT[:3], np.roll(ONE_HOT[:3], 2, axis=1)):
        assert np.isfinite(gradients(loss, targets, logits)).all()


def test_binary_cross_entropy_is_the_mean_over_the_classes():
    p = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    expected = -np.log(np.where(SEVERAL, p, 1 - p)).mean(axis=1)

    np.testing.assert_allclose(in_training(BinaryCrossEntropy(), SEVERAL), expected, atol=FLOAT32)
    np.testing.assert_allclose(on_validation(BinaryCrossEntropy(), SEVERAL), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("loss", "targets", "smooth"),
    [
        (CrossEntropy(label_smoothing=0.3), ONE_HOT, lambda targets: 0.7 * targets + 0.3 / 5),
        (Focal(label_smoothing=0.3), ONE_HOT, lambda targets: 0.7 * targets + 0.3 / 5),
        (BinaryCrossEntropy(label_smoothing=0.3), SEVERAL, lambda targets: 0.7 * targets + 0.15),
    ],
    ids=["cross-entropy", "focal", "binary"],
)
def test_smoothing_changes_the_targets_in_training_alone(loss, targets, smooth):
    sharp = loss.model_copy(update={"label_smoothing": 0.0})
    labels = targets if targets.dtype == bool else CLASSES

    np.testing.assert_allclose(in_training(loss, targets), in_training(sharp, smooth(targets)), atol=FLOAT32)
    np.testing.assert_array_equal(on_validation(loss, labels), on_validation(sharp, labels))


@pytest.mark.parametrize("loss", [spec(label_smoothing=0.1) for spec in LOSS_SPECS], ids=lambda loss: loss.kind)
def test_loss_of_mixed_targets_is_the_mix_of_the_losses(loss):
    # What weights of mixed pictures rest on.
    other = np.roll(ONE_HOT, 1, axis=1)

    mixed = in_training(loss, 0.3 * ONE_HOT + 0.7 * other)

    np.testing.assert_allclose(mixed, 0.3 * in_training(loss, ONE_HOT) + 0.7 * in_training(loss, other), atol=1e-5)


def test_log_softmax_is_the_logarithm_of_the_softmax():
    # softmax of (0, ln 3) is (1/4, 3/4)
    found = log_softmax(np.array([[0.0, np.log(3.0)]], np.float32))

    np.testing.assert_allclose(found, [[np.log(0.25), np.log(0.75)]], rtol=1e-6)


def test_log_softmax_of_extreme_logits_is_finite():
    found = log_softmax(np.array([[1e30, 0.0], [-1e30, -1e30]], np.float32))

    np.testing.assert_allclose(found, [[0.0, -1e30], [np.log(0.5), np.log(0.5)]], rtol=1e-6)


def test_log_softmax_of_infinite_logits_is_no_number():
    assert np.isnan(log_softmax(np.array([[np.inf, 0.0]], np.float32))).any()
