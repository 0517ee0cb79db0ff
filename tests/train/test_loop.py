"""Which epoch stays, and what ends training before its time."""

from contextlib import contextmanager

import numpy as np
import pytest

from transferkit.errors import TrainingError
from transferkit.progress import Quiet
from transferkit.train import loop
from transferkit.train.epoch import Epoch
from transferkit.train.watch import Watch

pytestmark = pytest.mark.model


class Scripted:
    """Stands in for a phase's run: epoch after epoch it gives the results that a test wrote down.

    After the run's epoch n, counted from 1, the head's bias is n everywhere.
    """

    results: dict

    def __init__(self, classifier, data, phase, features, *, recipe, **_):
        self.phase, self.bias, self.recipe = phase, classifier.weights()["logits/bias"], recipe
        self.position, self.computes_features, self.validation = 0, False, data.rows["validation"]
        self.steps, self.trainer = self, self

    def sync(self):
        pass

    def own_state(self):
        return {}

    def best_weights(self, row):
        return {}

    def fit_epoch(self, epoch, before, task, *, after_step=None):
        number = self.phase.first_epoch + epoch + 1
        val_accuracy, val_loss = self.results[number]
        self.bias.assign(np.full(3, number))
        row = Epoch(number, self.phase.name, 0.1, 1.0, 0.5, val_loss, val_accuracy)
        return row, Watch(number, self.phase.name, 0.1, 100.0, 0.0, 500.0, {}, {})


@pytest.fixture
def script(monkeypatch):
    """`script(accuracies, losses)` by epoch from 1 on replaces the phases' runs."""

    def write(accuracies, losses=None):
        losses = losses or [1.0] * len(accuracies)
        results = dict(enumerate(zip(accuracies, losses, strict=True), start=1))
        monkeypatch.setattr(loop, "PhaseRun", type("PhaseRun", (Scripted,), {"results": results}))

    return write


@pytest.mark.parametrize(
    ("monitor", "accuracies", "losses", "best"),
    [
        ("val_accuracy", [0.5, 0.9, 0.7], [1.0, 1.0, 0.1], 2),
        ("val_accuracy", [0.5, 0.7, 0.7], [1.0, 0.9, 0.8], 3),  # equal accuracies: the smaller loss
        ("val_accuracy", [0.5, 0.7, 0.7], [1.0, 0.8, 0.8], 2),  # all equal: the earlier one
        ("val_loss", [0.9, 0.5, 0.5], [1.0, 0.3, 0.5], 2),
        ("val_loss", [0.5, 0.9, 0.5], [0.3, 0.3, 0.5], 1),
    ],
)
def test_run_ends_with_the_weights_of_its_best_epoch(make_toy, script, monitor, accuracies, losses, best):
    toy = make_toy({"epochs": 3}, monitor=monitor)
    script(accuracies, losses)

    training = toy.train()

    assert training.best.epoch == best
    np.testing.assert_array_equal(toy.weights()["logits/bias"], best)
    assert [row.epoch for row in training.epochs] == [1, 2, 3]


def test_best_epoch_may_lie_in_an_earlier_phase(make_toy, script):
    toy = make_toy({"epochs": 2}, {"name": "two", "epochs": 2})
    script([0.6, 0.9, 0.7, 0.8])

    training = toy.train()

    assert (training.best.epoch, training.best.phase) == (2, "phase")
    np.testing.assert_array_equal(toy.weights()["logits/bias"], 2)


def test_phase_ends_when_it_has_not_become_better_for_patience_epochs(make_toy, script, told):
    toy, progress = make_toy({"epochs": 6, "early_stopping": {"patience": 2}}, {"name": "two"}), told
    script([0.6, 0.7, 0.5, 0.7, 0.0, 0.0, 0.1])

    training = toy.train(progress)

    assert [row.epoch for row in training.epochs] == [1, 2, 3, 4, 7]
    assert "phase: no better for 2 epochs, ends here" in progress.lines


def test_phase_without_early_stopping_goes_on(make_toy, script):
    toy = make_toy({"epochs": 4})
    script([0.6, 0.5, 0.5, 0.5])

    assert len(toy.train().epochs) == 4


@pytest.mark.parametrize(
    ("early_stopping", "start"), [({"patience": 2}, 2), (None, 3)], ids=["early stopping", "no early stopping"]
)
def test_next_phase_starts_from_the_phase_s_best_weights_only_with_early_stopping(
    make_toy, script, monkeypatch, early_stopping, start
):
    toy = make_toy({"epochs": 3, "early_stopping": early_stopping}, {"name": "two"})
    script([0.6, 0.8, 0.7, 0.9])
    starts, fit_epoch = [], Scripted.fit_epoch

    def watch(self, epoch, before, task, **options):
        starts.append(self.bias.numpy()[0])
        return fit_epoch(self, epoch, before, task, **options)

    monkeypatch.setattr(Scripted, "fit_epoch", watch)
    toy.train()

    assert starts == [0, 1, 2, start]


def test_phase_s_own_best_epoch_counts_for_early_stopping_not_the_run_s(make_toy, script, monkeypatch):
    toy = make_toy({}, {"name": "two", "epochs": 2, "early_stopping": {"patience": 1}}, {"name": "three"})
    script([0.9, 0.5, 0.4, 0.3])
    starts, fit_epoch = [], Scripted.fit_epoch

    def watch(self, epoch, before, task, **options):
        starts.append(self.bias.numpy()[0])
        return fit_epoch(self, epoch, before, task, **options)

    monkeypatch.setattr(Scripted, "fit_epoch", watch)
    training = toy.train()

    assert starts == [0, 1, 2, 2]
    assert training.best.epoch == 1


def test_lines_of_the_progress_name_the_best_epochs(make_toy, script, told):
    toy, progress = make_toy({"epochs": 3}), told
    script([0.6, 0.5, 0.7])

    toy.train(progress)

    assert [line.endswith("best") for line in progress.lines] == [True, False, True]
    assert progress.lines[1].startswith("epoch 2 of 3  phase  loss 1.000  accuracy  50.0%")


def test_memory_that_runs_out_ends_training_with_what_was_reached(make_toy, script, monkeypatch):
    import tensorflow as tf

    toy = make_toy({"epochs": 3})
    script([0.6, 0.5])
    fit_epoch = Scripted.fit_epoch

    def run_out(self, epoch, before, task, **options):
        if epoch == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return fit_epoch(self, epoch, before, task, **options)

    monkeypatch.setattr(Scripted, "fit_epoch", run_out)
    training = toy.train()

    assert "too little memory for batches of 8 pictures of 32 px" in str(training.error)
    assert "data.batch_size" in str(training.error)
    assert training.best.epoch == 1
    np.testing.assert_array_equal(toy.weights()["logits/bias"], 1)


SGD = {"optimizer": {"name": "sgd", "momentum": 0.0}}


def test_loss_that_is_no_number_ends_training_with_phase_step_and_rate(make_toy):
    toy = make_toy({**SGD, "epochs": 2}, {**SGD, "name": "wild", "epochs": 3, "learning_rate": 1e30})

    training = toy.train()

    assert isinstance(training.error, TrainingError)
    # The first update makes weights of size 1e30, whose loss is still finite; the second one overflows.
    first_line = str(training.error).splitlines()[0]
    assert first_line == "the loss is not a number any more: phase 'wild', step 3 of 9, learning rate 1.00e+30."
    assert "Lower the phase's learning_rate" in str(training.error)
    assert [row.phase for row in training.epochs] == ["phase", "phase"]


def test_first_bad_step_is_told_also_where_it_is_noticed_later(make_toy, monkeypatch):
    from transferkit.train import phase_run

    monkeypatch.setattr(phase_run, "_READ_EVERY_S", 1000.0)
    toy = make_toy({**SGD, "epochs": 3, "learning_rate": 1e30})

    error = toy.train().error

    assert "step 3 of 9" in str(error)


def test_infinite_loss_counts_as_bad(make_toy):
    toy = make_toy(SGD)
    # Cross-entropies of 3e38 for the other two classes: their sum is more than a float32 holds.
    toy.classifier.weights()["logits/bias"].assign(np.array([3e38, 0, 0], np.float32))

    error = toy.train().error

    assert "step 1 of 3" in str(error)


def test_weights_after_a_bad_loss_are_the_last_good_ones(make_toy):
    good, wild = {**SGD, "epochs": 2}, {**SGD, "train": "all", "name": "wild", "learning_rate": 1e30}
    toy, alone = make_toy(good, wild), make_toy(good)

    training = toy.train()
    alone.train()

    assert training.error
    expected = alone.weights()
    for path, weights in toy.weights().items():
        np.testing.assert_array_equal(weights, expected[path], err_msg=path)


def test_bad_loss_in_the_first_epoch_leaves_the_start(make_toy):
    toy = make_toy({**SGD, "train": "all", "learning_rate": 1e30, "batch_norm": "train"})
    before = toy.weights()

    training = toy.train()

    assert training.error
    assert training.best is None
    for path, weights in toy.weights().items():
        np.testing.assert_array_equal(weights, before[path], err_msg=path)


def test_validation_loss_that_is_no_number_ends_training_too(make_toy, make_data):
    # One step per epoch: its loss is still good, and only validation sees what it has done.
    toy = make_toy({**SGD, "train": "all", "learning_rate": 1e30}, data=make_data(train=8))
    before = toy.weights()

    training = toy.train()

    assert str(training.error).startswith("the validation loss is not a number any more: phase 'phase', step 1 of 1,")
    np.testing.assert_array_equal(toy.weights()["logits/kernel"], before["logits/kernel"])


class InterruptAt(Quiet):
    """Raises what Ctrl-C raises, at one step of a task, and keeps the weights of every epoch that ended before."""

    def __init__(self, toy, task: str, step: int) -> None:
        self.toy, self.where, self.left, self.weights = toy, task, step, []

    @contextmanager
    def task(self, what, total, unit=""):
        yield self if what == self.where else Quiet()

    def advance(self, count=1, note=""):
        self.left -= bool(count)
        if not self.left:
            raise KeyboardInterrupt

    def say(self, line):
        if line.startswith("epoch"):
            self.weights.append(self.toy.weights())


def test_interrupt_in_the_middle_of_an_epoch_keeps_whole_epochs_and_the_best_weights(make_toy):
    toy = make_toy({"epochs": 4, "train": {"last_stages": 1}, "learning_rate": 1e-3})
    progress = InterruptAt(toy, "phase", 6 + 2)  # an epoch has 3 steps: the second step of the third

    training = toy.train(progress)

    assert training.interrupted
    assert training.error is None
    assert len(training.epochs) == 2
    best = max(training.epochs, key=lambda row: row.rank("val_accuracy"))
    assert training.best == best
    for path, weights in toy.weights().items():
        np.testing.assert_array_equal(weights, progress.weights[best.epoch - 1][path], err_msg=path)


def test_interrupt_before_the_first_epoch_ends_leaves_the_start(make_toy):
    toy = make_toy({"train": "all"})
    before = toy.weights()

    training = toy.train(InterruptAt(toy, "phase", 2))

    assert training.interrupted
    assert training.best is None
    for path, weights in toy.weights().items():
        np.testing.assert_array_equal(weights, before[path], err_msg=path)


def test_interrupt_while_features_are_computed_is_one_too(make_toy):
    toy = make_toy({})

    assert toy.train(InterruptAt(toy, "features of the frozen part, train", 1)).interrupted


def test_network_at_the_end_gives_the_best_epoch_s_results_again(make_toy):
    toy = make_toy(
        {"epochs": 3, "learning_rate": 0.1},
        {"epochs": 3, "train": "all", "batch_norm": "train", "learning_rate": 1e-3},
        augment=["flip"],
    )

    training = toy.train()

    rows = toy.data.rows["validation"]
    logits = np.asarray(toy.classifier.network(toy.data.images[rows].astype(np.float32), training=False))
    accuracy = (logits.argmax(axis=1) == toy.data.labels[rows]).mean()
    assert accuracy == pytest.approx(training.best.val_accuracy)
    assert training.best.rank("val_accuracy") == max(row.rank("val_accuracy") for row in training.epochs)
