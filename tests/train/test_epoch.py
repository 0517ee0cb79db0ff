"""One epoch: what is told of it, and what one step computes."""

import numpy as np
import pytest

from transferkit.progress import Quiet

pytestmark = pytest.mark.model

# A mean of cross-entropies of size 1, in float32 and in another order.
FLOAT32 = 1e-5


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    logits = logits.astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(targets * logs).sum(axis=1).mean())


def test_validation_counts_every_picture_once_also_in_a_smaller_last_batch(make_toy, make_data):
    toy = make_toy({"train": {"last_stages": 1}}, data=make_data(validation=13))
    run = toy.phase_run()

    row, _ = run.fit_epoch(0, [], Quiet())

    rows = toy.data.rows["validation"]
    logits = np.asarray(toy.classifier.network(toy.data.images[rows].astype(np.float32), training=False))
    labels = toy.data.labels[rows]
    assert row.val_accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=1e-12)
    assert row.val_loss == pytest.approx(cross_entropy(logits, np.eye(3)[labels]), abs=FLOAT32)


def test_epoch_tells_its_number_phase_and_last_rate(make_toy):
    toy = make_toy({"epochs": 2}, {"name": "two", "epochs": 3, "schedule": "cosine"})

    row, _ = toy.phase_run(1).fit_epoch(1, [], Quiet())

    assert (row.epoch, row.phase) == (4, "two")
    assert row.learning_rate == pytest.approx(toy.schedule[1].rates[5])


def test_training_loss_and_accuracy_are_means_over_the_pictures_not_over_the_batches(make_toy, make_data):
    # At a rate of nothing every batch is computed with the same weights.
    toy = make_toy({"learning_rate": 1e-30}, data=make_data(train=11))

    row, _ = toy.phase_run().fit_epoch(0, [], Quiet())

    rows = toy.data.rows["train"]
    logits = np.asarray(toy.classifier.network(toy.data.images[rows].astype(np.float32), training=False))
    assert row.loss == pytest.approx(cross_entropy(logits, np.eye(3)[toy.data.labels[rows]]), abs=FLOAT32)
    assert row.accuracy == pytest.approx((logits.argmax(axis=1) == toy.data.labels[rows]).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("sections", "soft"),
    [
        ({}, False),
        ({"loss": {"cross_entropy": {"label_smoothing": 0.3}}}, False),
        ({"augment": [{"mixup": {"alpha": 1.0}}]}, True),
        ({"augment": [{"cutmix": {"alpha": 1.0}}]}, True),
        ({"augment": [{"mixup": {"alpha": 1.0}}], "loss": {"cross_entropy": {"label_smoothing": 0.3}}}, True),
    ],
    ids=["plain", "label smoothing", "mixup", "cutmix", "mixup and label smoothing"],
)
def test_mixed_images_mixed_labels_and_smoothing_reach_the_loss(make_toy, make_data, record_batches, sections, soft):
    toy = make_toy({}, data=make_data(train=8), **sections)
    batches, run = record_batches(), toy.phase_run()
    start = toy.weights()

    row, _ = run.fit_epoch(0, [], Quiet())

    ((inputs, labels),) = batches
    assert bool(((labels > 0) & (labels < 1)).any()) == soft
    smoothing = toy.recipe.loss.label_smoothing
    targets = labels * (1 - smoothing) + smoothing / 3
    toy.assign(start)
    logits = np.asarray(run.trainer.network(inputs, training=False))
    assert row.loss == pytest.approx(cross_entropy(logits, targets), abs=FLOAT32)


SGD = {"optimizer": {"name": "sgd", "momentum": 0.0}, "weight_decay": 0.0}


def test_penalty_on_the_head_s_kernels_pulls_them_and_stays_out_of_the_loss_that_is_told(make_toy, make_data):
    data, rate, penalty = make_data(train=8), 0.01, 0.5
    head = {"dropout": 0.0, "weight_decay": penalty}
    plain, penalised = (
        make_toy({**SGD, "learning_rate": rate}, data=data, model={"weights": "none", "head": one})
        for one in ({"dropout": 0.0}, head)
    )
    start = penalised.weights()["logits/kernel"]

    rows = [toy.phase_run().fit_epoch(0, [], Quiet())[0] for toy in (plain, penalised)]

    difference = penalised.weights()["logits/kernel"] - plain.weights()["logits/kernel"]
    # Keras' L2 is penalty x the sum of squares; float32 differences of weights of size 1.
    np.testing.assert_allclose(difference, -rate * 2 * penalty * start, atol=FLOAT32)
    np.testing.assert_array_equal(penalised.weights()["logits/bias"], plain.weights()["logits/bias"])
    assert rows[0].loss == rows[1].loss


def test_dropout_of_the_head_acts_in_training(make_toy, make_data):
    data = make_data(train=8)
    settings = {"learning_rate": 1e-30}
    plain = make_toy(settings, data=data)
    dropped = make_toy(settings, data=data, model={"weights": "none", "head": {"dropout": 0.5}})

    with_dropout, without = (one.phase_run().fit_epoch(0, [], Quiet())[0] for one in (dropped, plain))

    assert abs(with_dropout.loss - without.loss) > 1e-3
    assert with_dropout.val_loss == without.val_loss


class SmallestKernel(Quiet):
    """Watches one head weight after every step."""

    def __init__(self, toy) -> None:
        self.kernel = toy.classifier.weights()["logits/kernel"]
        self.values = [float(self.kernel.numpy()[0, 0])]

    def advance(self, count=1, note=""):
        if count:  # validation only looks whether it shall stop
            self.values.append(float(self.kernel.numpy()[0, 0]))


def rates_that_acted(toy) -> tuple[list[float], list[float]]:
    """Rates read from the weights, and those of the history, of a phase that trains a head on features of 0.

    With gradients of 0 a step leaves `1 - rate x decay` of a kernel, so its weights tell the rate.
    """
    for name in ("gamma", "beta"):
        variable = toy.classifier.weights()[f"third_norm/{name}"]
        variable.assign(np.zeros(variable.shape))
    watch, run, rows = SmallestKernel(toy), toy.phase_run(), []
    for epoch in range(toy.schedule[0].epochs):
        rows.append(run.fit_epoch(epoch, rows, watch)[0])
    (decay,) = {phase.spec.weight_decay for phase in toy.schedule}
    values = np.array(watch.values)
    return list((1 - values[1:] / values[:-1]) / decay), [row.learning_rate for row in rows]


@pytest.mark.parametrize(
    "schedule", ["constant", "cosine", {"step": {"every_epochs": 1, "factor": 0.5}}, {"exponential": {"factor": 0.5}}]
)
def test_every_step_acts_at_the_rate_of_the_schedule_s_table(make_toy, schedule):
    toy = make_toy(
        {"epochs": 2, "schedule": schedule, "ramp_epochs": 0.7, "weight_decay": 1.0, "learning_rate": 0.3},
    )

    acted, told = rates_that_acted(toy)

    rates = toy.schedule[0].rates
    # A rate is read from the float32 quotient of two weights.
    np.testing.assert_allclose(acted, rates, atol=1e-6)
    np.testing.assert_allclose(told, [rates[2], rates[5]], rtol=1e-6)


def test_plateau_lowers_the_rate_after_epochs_that_were_no_better(make_toy):
    plateau = {"plateau": {"factor": 0.5, "patience": 2}}
    toy = make_toy({"epochs": 6, "schedule": plateau, "weight_decay": 1.0, "learning_rate": 0.2})

    acted, told = rates_that_acted(toy)

    # Nothing becomes better than in the first epoch: dropped after two more, and again after two more.
    expected = [0.2, 0.2, 0.2, 0.1, 0.1, 0.05]
    np.testing.assert_allclose(acted, np.repeat(expected, 3), atol=1e-6)
    np.testing.assert_allclose(told, expected, rtol=1e-6)


def test_steps_are_traced_once_per_phase_whatever_the_last_batch_s_size(make_toy, make_data, monkeypatch):
    from transferkit.train.trainer import PhaseTrainer

    toy = make_toy({"train": "all", "epochs": 3}, augment=["flip", {"rotate": 10}], data=make_data(train=21))
    traced, objective = [], PhaseTrainer.objective

    def count(self, *arguments, **options):
        traced.append(1)
        return objective(self, *arguments, **options)

    monkeypatch.setattr(PhaseTrainer, "objective", count)

    toy.train()

    assert len(traced) == 1


def test_progress_is_told_of_every_step_with_the_state_whole_before(make_toy):
    toy, told = make_toy({"epochs": 2}), []
    run = toy.phase_run()

    class Task(Quiet):
        def advance(self, count=1, note=""):
            told.append(("task", run.position)) if count else None

    for epoch in range(2):
        run.fit_epoch(epoch, [], Task(), after_step=lambda: told.append(("state", run.position)))

    assert told == [(who, step) for _ in range(2) for step in (1, 2, 3) for who in ("state", "task")]
