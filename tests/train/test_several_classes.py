"""Training on pictures that have any number of classes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from transferkit.progress import Quiet
from transferkit.train.epoch import Epoch

pytestmark = pytest.mark.model

LOSS = {"loss": "binary_cross_entropy", "pictures": {"source": {"csv": "several.csv"}}}
# Means of losses of size 1 in float32.
FLOAT32 = 1e-5


def binary_cross_entropy(logits, targets) -> np.ndarray:
    """Of each picture."""
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1)


def logits_of(toy, split) -> np.ndarray:
    images = toy.data.images[toy.data.rows[split]]
    return np.asarray(toy.classifier.network(images.astype(np.float32), training=False))


@pytest.mark.parametrize("augment", [[], [{"mixup": {"alpha": 1.0}}], [{"cutmix": {"alpha": 1.0}}]], ids=str)
def test_epoch_s_loss_is_binary_cross_entropy_of_what_was_trained_on(make_toy, make_several, record_batches, augment):
    toy = make_toy({}, data=make_several(train=8), augment=augment, **LOSS)
    batches, run, start = record_batches(), toy.phase_run(), toy.weights()

    row, _ = run.fit_epoch(0, [], Quiet())

    ((inputs, labels),) = batches
    toy.assign(start)
    logits = np.asarray(run.trainer.network(inputs, training=False))
    assert row.loss == pytest.approx(binary_cross_entropy(logits, labels).mean(), abs=FLOAT32)
    assert row.accuracy == pytest.approx(((logits > 0) == (labels > 0.5)).all(axis=1).mean(), abs=1e-6)
    assert bool(((labels > 0) & (labels < 1)).any()) == bool(augment)


def test_validation_counts_whole_combinations_and_ranks_each_class(make_toy, make_several):
    toy = make_toy({"train": "all"}, data=make_several(validation=13), **LOSS)

    row, _ = toy.phase_run().fit_epoch(0, [], Quiet())

    logits, labels = logits_of(toy, "validation"), toy.data.labels[toy.data.rows["validation"]]
    assert row.val_loss == pytest.approx(binary_cross_entropy(logits, labels).mean(), abs=FLOAT32)
    assert row.val_accuracy == pytest.approx(((logits > 0) == labels).all(axis=1).mean())
    areas = [average_precision_score(labels[:, label], logits[:, label]) for label in range(3)]
    assert row.val_map == pytest.approx(np.mean(areas))


def test_network_learns_to_tell_the_classes(make_toy, make_several):
    phase = {"train": "all", "batch_norm": "train", "epochs": 6, "learning_rate": 0.02}
    toy = make_toy(phase, data=make_several(train=48, validation=24), monitor="val_map", **LOSS)

    training = toy.train()

    assert training.best.val_map == max(row.val_map for row in training.epochs) > 0.9
    assert training.epochs[-1].loss < training.epochs[0].loss


def test_pictures_of_weight_0_have_no_influence(make_toy, make_several):
    data, weights = make_several(train=8), {}
    zero = data.weights.copy()
    zero[data.rows["train"][:3]] = 0
    without = replace(data, rows={**data.rows, "train": data.rows["train"][3:]})

    for name, own in (("weighted", replace(data, weights=zero)), ("without", without)):
        phase = {"train": "all", "optimizer": "sgd", "weight_decay": 0.0}
        toy = make_toy(phase, data=own, **LOSS)
        toy.phase_run().fit_epoch(0, [], Quiet())
        weights[name] = toy.weights()

    for path, expected in weights["without"].items():
        np.testing.assert_allclose(weights["weighted"][path], expected, rtol=0, atol=1e-6, err_msg=path)


@pytest.mark.parametrize(("monitor", "best"), [("val_map", 1), ("val_accuracy", 0), ("val_loss", 2)])
def test_monitor_says_which_epoch_is_the_best(monitor, best):
    rows = [
        Epoch(1, "phase", 0.1, 1.0, 0.5, val_loss=0.9, val_accuracy=0.8, val_map=0.5),
        Epoch(2, "phase", 0.1, 1.0, 0.5, val_loss=0.8, val_accuracy=0.7, val_map=0.6),
        Epoch(3, "phase", 0.1, 1.0, 0.5, val_loss=0.5, val_accuracy=0.6, val_map=0.5),
    ]

    assert max(range(3), key=lambda index: rows[index].rank(monitor)) == best


def test_average_s_mean_average_precision_stands_beside(make_toy, make_several):
    toy = make_toy({"train": "all", "ema": 0.5}, data=make_several(), monitor="val_map", **LOSS)

    row, _ = toy.phase_run().fit_epoch(0, [], Quiet())

    assert 0 < row.ema_val_map <= 1
    assert row.rank("val_map")[0] == max(row.val_map, row.ema_val_map)
