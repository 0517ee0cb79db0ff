"""Numbers to look at while a run trains, and what is warned of."""

import time
from dataclasses import replace

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.train.epoch import Epoch
from transferkit.train.watch import (
    Watch,
    flat_warning,
    frozen_warning,
    leak_warning,
    update_norms,
    waiting_warning,
)

SGD = {"optimizer": {"name": "sgd", "momentum": 0.0}, "weight_decay": 0.0}
WHOLE = {**SGD, "train": "all"}


def watch(**values) -> Watch:
    usual = {"epoch": 1, "phase": "one", "seconds": 10.0, "images_per_s": 1.0, "wait_fraction": 0.5, "memory_mb": 1.0}
    return Watch(**{**usual, "gradient_norms": {}, "update_norms": {}, **values})


def epoch(**values) -> Epoch:
    usual = {"epoch": 1, "phase": "one", "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0}
    return Epoch(**{**usual, "val_accuracy": 0.5, **values})


# Warnings


@pytest.mark.parametrize(("computes", "way_out"), [(True, "cache.max_gb"), (False, "data.cache: memory")])
def test_waiting_for_input_is_warned_of_with_the_way_out(computes, way_out):
    text = waiting_warning(watch(wait_fraction=0.42), computes_features=computes)

    assert text.startswith("training waited for its input 42% of the time: ")
    assert way_out in text


@pytest.mark.parametrize("values", [{"wait_fraction": 0.29}, {"seconds": 1.9}], ids=["little", "a short epoch"])
def test_little_waiting_is_not_warned_of(values):
    assert waiting_warning(watch(**values), computes_features=False) is None


def test_loss_that_does_not_fall_for_three_epochs_is_warned_of():
    text = flat_warning([1.1, 1.1, 1.095, 1.2])

    assert text.startswith("the training loss has not fallen in 3 epochs (1.100 to 1.200)")
    assert "learning_rate" in text


@pytest.mark.parametrize(
    "losses",
    [[1.1, 1.1, 1.1], [1.1, 1.1, 1.1, 1.05], [1.1, 0.9, 1.1, 1.1], [1.1] * 5],
    ids=["too early", "it falls", "it fell once", "warned of before"],
)
def test_loss_is_not_warned_of_otherwise(losses):
    assert flat_warning(losses) is None


def test_validation_far_better_than_training_is_warned_of():
    text = leak_warning(epoch(accuracy=0.5, val_accuracy=0.8), num_val=400, regularised=False)

    assert text.startswith("validation accuracy (80.0%) is far above training accuracy (50.0%)")
    assert "splits.csv" in text


@pytest.mark.parametrize(
    ("row", "num_val", "regularised"),
    [
        (epoch(accuracy=0.5, val_accuracy=0.8), 400, True),  # training is the harder task
        (epoch(accuracy=0.5, val_accuracy=0.59), 4000, False),
        (epoch(accuracy=0.5, val_accuracy=0.8), 30, False),  # four standard errors of 30 pictures are 37 %
        (epoch(accuracy=0.8, val_accuracy=0.5), 400, False),
    ],
    ids=["augmented", "a little", "few pictures", "worse"],
)
def test_validation_is_not_warned_of_otherwise(row, num_val, regularised):
    assert leak_warning(row, num_val=num_val, regularised=regularised) is None


def test_frozen_variable_that_moved_is_warned_of_by_name():
    before = {"a/moving_mean": 1, "a/moving_variance": 2, "b/kernel": 3, "c/bias": 4}

    text = frozen_warning(before, {**before, "a/moving_variance": 5, "b/kernel": 6})

    assert "2 frozen variables have changed" in text
    assert "a/moving_variance, b/kernel" in text


def test_frozen_variables_that_stayed_are_not_warned_of():
    assert frozen_warning({"a/moving_mean": 1}, {"a/moving_mean": 1}) is None


@pytest.mark.model
@pytest.mark.parametrize(
    ("phase", "path", "warns"),
    [
        ({"train": {"last_stages": 1}}, "first_norm/moving_mean", True),
        ({"train": {"last_stages": 1}}, "third_norm/moving_variance", True),
        ({"train": {"last_stages": 1}}, "second_norm/gamma", True),
        ({"train": {"last_stages": 1}}, "first_conv/kernel", True),
        ({"train": {"last_stages": 1}, "batch_norm": "train"}, "third_norm/moving_mean", False),
        ({"train": {"last_stages": 1}}, "third_conv/kernel", False),
    ],
)
def test_run_warns_if_something_frozen_moves_in_a_phase(make_toy, told, phase, path, warns):
    toy = make_toy(phase)
    variable = toy.classifier.weights()[path]

    class Meddling(type(told)):
        def advance(self, count=1, note=""):
            variable.assign(np.nextafter(variable.numpy(), np.float32(1e9)))

    progress = Meddling()
    toy.train(progress)

    lines = [line for line in progress.lines if line.startswith("warning: ") and "frozen" in line]
    assert len(lines) == warns
    assert all(path in line for line in lines)


@pytest.mark.model
@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_run_that_keeps_its_promises_warns_of_nothing(make_toy, told, batch_norm):
    make_toy({}, {"train": {"last_stages": 2}, "batch_norm": batch_norm, "name": "two"}).train(told)

    assert not [line for line in told.lines if line.startswith("warning")]


# Numbers


def test_update_norms_are_lengths_of_ways_as_shares_by_stage():
    before = {"a": np.array([3.0, 4.0]), "b": np.array([0.0]), "c": np.array([1.0, 0.0]), "other": np.array([9.0])}
    after = {"a": np.array([3.0, 4.5]), "b": np.array([1.2]), "c": np.array([1.0, 0.5]), "other": np.array([0.0])}

    found = update_norms(before, after, {"a": 1, "b": 1, "c": 2})

    assert found == {1: pytest.approx(1.3 / 5), 2: pytest.approx(0.5)}


def test_update_norm_of_weights_that_began_at_0_is_infinite():
    assert update_norms({"a": np.zeros(2)}, {"a": np.ones(2)}, {"a": 0}) == {0: np.inf}


def gradients_by_hand(toy, rows) -> dict[str, np.ndarray]:
    import tensorflow as tf

    network, trainable = toy.classifier.network, toy.schedule[0].trainable
    variables = {path: one.value for path, one in toy.classifier.weights().items() if path in trainable}
    with tf.GradientTape() as tape:
        logits = network(toy.data.images[rows].astype(np.float32), training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=toy.data.labels[rows], logits=logits)
        loss = tf.reduce_mean(losses)
    return {path: np.asarray(one) for path, one in tape.gradient(loss, variables).items()}


NAMES = {"first": "stage 0", "second": "stage 1", "inner": "stage 1", "third": "stage 2", "logits": "head"}


@pytest.mark.model
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-4), ("mixed_float16", 2e-2)],  # float16 has 11 bits; some ten operations follow each other
)
def test_gradient_norms_are_those_before_clipping_and_scaling_over_the_steps(make_toy, make_data, precision, tolerance):
    from transferkit.train.batches import epoch_order

    # At a rate of nothing all steps are taken from the same weights.
    settings = {**WHOLE, "learning_rate": 1e-30, "clip_norm": 1e-3}
    toy = make_toy(settings, data=make_data(train=21), precision=precision)
    exact = make_toy(settings, data=toy.data)
    order = toy.data.rows["train"][epoch_order(21, seed=0, epoch=0)]

    _, found = toy.phase_run().fit_epoch(0, [], Quiet())

    squares = dict.fromkeys(NAMES.values(), 0.0)
    for batch in (order[:8], order[8:16], order[16:]):
        for path, gradient in gradients_by_hand(exact, batch).items():
            squares[NAMES[path.split("/")[0].split("_")[0]]] += float((gradient**2).sum())
    expected = {name: np.sqrt(square / 3) for name, square in squares.items()}
    assert found.gradient_norms == pytest.approx(expected, rel=tolerance)


@pytest.mark.model
def test_update_norms_of_an_epoch_are_those_of_its_weights(make_toy):
    toy = make_toy({**WHOLE, "learning_rate": 0.01})
    before = toy.weights()

    _, found = toy.phase_run().fit_epoch(0, [], Quiet())

    after = toy.weights()
    for name in set(NAMES.values()):
        paths = [path for path in toy.schedule[0].trainable if NAMES[path.split("/")[0].split("_")[0]] == name]
        way = np.sqrt(sum(((after[path] - before[path]) ** 2).sum() for path in paths))
        length = np.sqrt(sum((before[path] ** 2).sum() for path in paths))
        assert found.update_norms[name] == pytest.approx(way / length, rel=1e-5)


@pytest.mark.model
def test_waiting_for_a_slow_source_is_counted(make_toy, make_data):
    class Slow:
        """Pictures from a disk that takes its time."""

        def __init__(self, images):
            self.images, self.shape, self.dtype = images, images.shape, images.dtype

        def __getitem__(self, rows):
            time.sleep(0.5)
            return self.images[rows]

    data = make_data()
    toy = make_toy({"train": "all", "epochs": 2}, data=replace(data, images=Slow(data.images)))
    run = toy.phase_run()
    run.fit_epoch(0, [], Quiet())  # with the time of tracing

    _, found = run.fit_epoch(1, [], Quiet())

    assert found.wait_fraction > 0.5
    assert found.images_per_s < 24 / 0.5
    assert found.seconds > 0.5
    assert found.memory_mb > 100  # Python with Keras


@pytest.mark.model
def test_waiting_for_pictures_in_memory_is_next_to_nothing(make_toy):
    run = make_toy({"train": "all", "epochs": 2}).phase_run()

    _, found = run.fit_epoch(0, [], Quiet())

    assert found.wait_fraction < 0.3
