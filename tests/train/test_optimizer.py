"""Optimizer steps against hand-computed ones."""

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.recipe.phases import OPTIMIZER_SPECS, PhaseSpec

pytestmark = pytest.mark.model

RATE, DECAY = 0.1, 0.5
START, GRADIENT = np.array([1.0, -2.0, 0.5], np.float32), np.array([0.3, 0.2, -4.0], np.float32)
# Gradients for which every moment and every sign counts.
VARIED = (1.0, -0.02, -0.5, 2.0)
# Each step is a few float32 operations on numbers of size 1.
FLOAT32 = 1e-6


def phase(**settings) -> PhaseSpec:
    defaults = {"name": "one", "train": "all", "epochs": 1, "learning_rate": RATE}
    return PhaseSpec.model_validate({**defaults, **settings})


def step(spec: PhaseSpec, *, shares=(1.0,), rates=None, times=(1.0,), decayed=None, **options) -> list[np.ndarray]:
    """Variables that start alike, with one share of the rate each, after a step with each multiple of the gradient."""
    import keras

    from transferkit.train.optimizer import build_optimizer, inner_optimizer

    variables = {str(index): keras.Variable(START) for index in range(len(shares))}
    given = {path: share for path, share in zip(variables, shares, strict=True) if share != 1}
    decays = frozenset(variables if decayed is None else decayed)
    optimizer = build_optimizer(spec, variables, shares=given, decayed=decays, **options)
    for factor, rate in zip(times, rates or [RATE] * len(times), strict=True):
        inner_optimizer(optimizer)._learning_rate.assign(rate)
        optimizer.apply([keras.ops.convert_to_tensor(GRADIENT * factor)] * len(variables), variables.values())
    return [variable.numpy() for variable in variables.values()]


def adam_first_step(share: float, decay: float) -> np.ndarray:
    """Corrected for their start, both moments of a first step are the gradient's own: g / sqrt(g²)."""
    rate = RATE * share
    return START * (1 - rate * decay) - rate * GRADIENT / (np.abs(GRADIENT) + 1e-7)


def test_optimizers_are_those_a_recipe_may_name():
    from transferkit.train.optimizer import OPTIMIZERS

    assert set(OPTIMIZERS) == {row.model_fields["name"].default for row in OPTIMIZER_SPECS}


@pytest.mark.parametrize("row", OPTIMIZER_SPECS, ids=lambda row: row.model_fields["name"].default)
def test_optimizer_row_moves_weights_against_the_gradient(row):
    spec = phase(optimizer={"name": row.model_fields["name"].default}, weight_decay=0.0)

    (moved,) = step(spec)

    assert np.all(np.isfinite(moved))
    np.testing.assert_array_equal(np.sign(moved - START), -np.sign(GRADIENT))


@pytest.mark.parametrize("row", OPTIMIZER_SPECS, ids=lambda row: row.model_fields["name"].default)
def test_optimizer_row_moves_each_variable_by_its_share(row):
    spec = phase(optimizer={"name": row.model_fields["name"].default}, weight_decay=0.0)

    whole, half = step(spec, shares=(1.0, 0.5))

    np.testing.assert_allclose(half - START, 0.5 * (whole - START), atol=FLOAT32)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        (row.model_fields["name"].default, parameter, True if parameter == "nesterov" else 0.123)
        for row in OPTIMIZER_SPECS
        for parameter in row.model_fields
        if parameter != "name"
    ],
)
def test_optimizer_parameter_changes_the_steps(name, parameter, value):
    base = {"name": name, "momentum": 0.5} if parameter == "nesterov" else {"name": name}

    (default,) = step(phase(optimizer=base), times=VARIED)
    (changed,) = step(phase(optimizer={**base, parameter: value}), times=VARIED)

    assert not np.array_equal(default, changed)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_sgd_step_with_decay_is_the_one_on_paper(share):
    (found,) = step(phase(optimizer={"name": "sgd", "momentum": 0.0}, weight_decay=DECAY), shares=(share,))

    np.testing.assert_allclose(found, START - RATE * share * (GRADIENT + DECAY * START), atol=FLOAT32)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_adam_first_step_with_decoupled_decay_is_the_one_on_paper(name, share):
    (found,) = step(phase(optimizer={"name": name}, weight_decay=DECAY), shares=(share,))

    # Keras corrects with 1 - 0.999, which float32 knows to some 3e-5 only; the step is 0.1.
    np.testing.assert_allclose(found, adam_first_step(share, DECAY), atol=5e-6)


def test_clip_norm_scales_all_gradients_together():
    spec = phase(optimizer={"name": "sgd", "momentum": 0.0}, weight_decay=0.0, clip_norm=1.0)

    found = step(spec, shares=(1.0, 1.0))

    norm = np.sqrt(2 * (GRADIENT**2).sum())
    for one in found:
        np.testing.assert_allclose(one, START - RATE * GRADIENT / norm, atol=FLOAT32)


def test_clip_norm_leaves_small_gradients_alone():
    spec = phase(optimizer={"name": "sgd", "momentum": 0.0}, weight_decay=0.0, clip_norm=100.0)

    (found,) = step(spec)

    np.testing.assert_allclose(found, START - RATE * GRADIENT, atol=FLOAT32)


def test_each_step_acts_at_the_rate_that_is_set_before_it():
    spec = phase(optimizer={"name": "sgd", "momentum": 0.0}, weight_decay=0.0)

    (found,) = step(spec, rates=(0.1, 0.3, 0.2), times=(1.0, -2.0, 3.0))

    np.testing.assert_allclose(found, START - (0.1 - 0.6 + 0.6) * GRADIENT, atol=FLOAT32)


@pytest.mark.parametrize("row", OPTIMIZER_SPECS, ids=lambda row: row.model_fields["name"].default)
def test_only_what_decays_is_shrunk(row):
    spec = phase(optimizer={"name": row.model_fields["name"].default}, weight_decay=DECAY)
    (plain,) = step(phase(optimizer={"name": row.model_fields["name"].default}, weight_decay=0.0))

    shrunk, spared = step(spec, shares=(1.0, 1.0), decayed={"0"})

    np.testing.assert_array_equal(spared, plain)
    np.testing.assert_allclose(shrunk - plain, -RATE * DECAY * START, atol=FLOAT32)


def test_scaled_gradients_give_the_step_of_plain_ones():
    spec = phase(optimizer={"name": "sgd", "momentum": 0.9}, weight_decay=DECAY, clip_norm=1.0)

    (scaled,) = step(spec, times=(2.0**15,), scale_loss=True)  # what Keras begins with

    np.testing.assert_allclose(scaled, step(spec)[0], atol=FLOAT32)


def test_overflow_leaves_weights_moments_averages_and_the_count_of_steps_alone():
    spec = phase(optimizer={"name": "sgd", "momentum": 0.9}, weight_decay=DECAY, ema=0.5)

    (skipped,) = step(spec, times=(2.0**15, np.inf, 2.0**14), scale_loss=True)
    (unscaled,) = step(spec, times=(1.0, 1.0))

    # Keras halves its scale after an overflow.
    np.testing.assert_allclose(skipped, unscaled, atol=FLOAT32)


def test_stage_decay_reaches_every_stage_of_the_network(make_toy):
    """One step of the whole network on one batch, against gradients taken by hand."""
    import tensorflow as tf

    settings = {"train": "all", "batch_norm": "affine", "stage_decay": 0.5, "weight_decay": 0.1, "decay": "all"}
    toy = make_toy({**settings, "learning_rate": 0.5, "optimizer": {"name": "sgd", "momentum": 0.0}})
    network, rows = toy.classifier.network, toy.data.rows["train"][:8]
    toy.data.rows["train"] = rows
    variables = {path: one for path, one in toy.classifier.weights().items() if path in toy.schedule[0].trainable}
    with tf.GradientTape() as tape:
        logits = network(toy.data.images[rows].astype(np.float32), training=False)
        labels = toy.data.labels[rows]
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    gradients = tape.gradient(loss, {path: one.value for path, one in variables.items()})
    gradients = {path: np.asarray(gradient) for path, gradient in gradients.items()}
    before = toy.weights()
    share_of = {"first": 0.125, "second": 0.25, "inner": 0.25, "third": 0.5, "logits": 1.0}

    toy.phase_run().fit_epoch(0, [], Quiet())

    after = toy.weights()
    assert {path.split("/")[0].split("_")[0] for path in variables} == set(share_of)
    for path in variables:
        share = share_of[path.split("/")[0].split("_")[0]]
        expected = before[path] - 0.5 * share * (gradients[path] + 0.1 * before[path])
        # Gradients of size 1 through other kernels: eager here, a graph there.
        np.testing.assert_allclose(after[path], expected, atol=1e-5, err_msg=path)
        assert np.abs(after[path] - before[path]).max() > 1e-4
