"""What a step computes, against steps on paper and against the same step done in another way."""

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.train.epoch import Epoch

pytestmark = pytest.mark.model

RATE = 0.05
SGD = {"optimizer": {"name": "sgd", "momentum": 0.0}, "weight_decay": 0.0, "learning_rate": RATE}
WHOLE = {**SGD, "train": "all", "batch_norm": "affine"}
# Some float32 operations on weights of size 1.
FLOAT32 = 1e-6


def after(make_toy, phase, *, epochs=1, **options) -> dict:
    """All weights after some epochs."""
    toy = make_toy({**phase, "epochs": epochs}, **options)
    run = toy.phase_run()
    for epoch in range(epochs):
        run.fit_epoch(epoch, [], Quiet())
    return toy.weights()


def assert_close(found, expected, atol=FLOAT32):
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], rtol=0, atol=atol, err_msg=path)


# Decay, shares and L2-SP


@pytest.mark.parametrize(
    ("decay", "decayed"),
    [("kernels", lambda path: path.endswith("kernel")), ("all", lambda path: "moving" not in path)],
    ids=["kernels", "all"],
)
def test_decay_shrinks_what_it_names(make_toy, make_data, decay, decayed):
    data, weight_decay = make_data(train=8), 0.3
    start = make_toy(WHOLE, data=data).weights()
    plain = after(make_toy, WHOLE, data=data)

    found = after(make_toy, {**WHOLE, "weight_decay": weight_decay, "decay": decay}, data=data)

    for path in start:
        expected = -RATE * weight_decay * start[path] * decayed(path)
        np.testing.assert_allclose(found[path] - plain[path], expected, atol=FLOAT32, err_msg=path)


def test_layer_decay_gives_each_layer_its_share(make_toy, make_data):
    data = make_data(train=8)
    start, plain = make_toy(WHOLE, data=data).weights(), after(make_toy, WHOLE, data=data)

    found = after(make_toy, {**WHOLE, "layer_decay": 0.5}, data=data)

    # Layers with weights between each and the head; batch norm counts with its convolution.
    share_of = {"third": 1 / 2, "inner": 1 / 4, "second": 1 / 8, "first": 1 / 16, "logits": 1}
    for path in start:
        expected = share_of[path.split("/")[0].split("_")[0]] * (plain[path] - start[path])
        np.testing.assert_allclose(found[path] - start[path], expected, atol=FLOAT32, err_msg=path)


def test_l2_sp_pulls_the_backbone_to_where_the_run_began(make_toy, make_data):
    data, strength = make_data(train=8), 0.4
    settings = {**WHOLE, "epochs": 1}
    second = {**settings, "name": "two"}
    start, between, free, pulled = make_toy(settings, data=data).weights(), {}, {}, {}
    for phase, last in ((second, free), ({**second, "l2_sp": strength}, pulled)):
        toy = make_toy(settings, phase, data=data)
        toy.train(Keeping(toy, between, last))

    for path in start:
        pull = 0.0 if path.startswith("logits") else strength * (between[path] - start[path])
        np.testing.assert_allclose(pulled[path] - free[path], -RATE * pull, atol=FLOAT32, err_msg=path)
    assert np.abs(between["first_conv/kernel"] - start["first_conv/kernel"]).max() > 1e-4


class Keeping(Quiet):
    """Keeps the weights after the first and after the last epoch; the run itself ends with its best ones."""

    def __init__(self, toy, first: dict, last: dict) -> None:
        self.toy, self.first, self.last = toy, first, last

    def say(self, line):
        if line.startswith("epoch"):
            self.last.update(self.toy.weights())
            if line.startswith("epoch 1"):
                self.first.update(self.last)


# Moving averages


def averages(run) -> dict:
    from transferkit.train.optimizer import averages_of

    return dict(zip(run.trainer.trained, (one.numpy() for one in averages_of(run.trainer.optimizer)), strict=True))


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_average_is_the_recursion_over_the_steps_from_the_first_step_s_weights_on(make_toy, precision):
    toy = make_toy({**WHOLE, "ema": 0.8, "epochs": 2}, precision=precision)
    run, expected = toy.phase_run(), {}

    def follow():
        for path, value in toy.weights().items():
            expected[path] = 0.8 * expected[path] + 0.2 * value if path in expected else value

    for epoch in range(2):
        run.fit_epoch(epoch, [], Quiet(), after_step=follow)

    assert int(run.trainer.sums.numpy()[4]) == 3
    for path, value in averages(run).items():
        np.testing.assert_allclose(value, expected[path], atol=FLOAT32, err_msg=path)


def test_average_starts_afresh_in_each_phase(make_toy):
    toy = make_toy({**WHOLE, "ema": 0.99}, {**WHOLE, "ema": 0.99, "name": "two"})
    toy.phase_run(0).fit_epoch(0, [], Quiet())
    run, seen = toy.phase_run(1), []

    run.fit_epoch(0, [], Quiet(), after_step=lambda: seen.append((toy.weights(), averages(run))))

    weights, average = seen[0]
    for path in average:
        np.testing.assert_array_equal(average[path], weights[path])


def test_average_is_evaluated_beside_the_weights_and_leaves_them_alone(make_toy):
    plain, averaged = make_toy({**WHOLE, "epochs": 2}), make_toy({**WHOLE, "epochs": 2, "ema": 0.9})

    rows = [
        [run.fit_epoch(epoch, [], Quiet())[0] for epoch in range(2)] for run in (plain.phase_run(), run_of(averaged))
    ]

    assert [row.ema_val_loss for row in rows[0]] == [None, None]
    for without, beside in zip(*rows, strict=True):
        assert (beside.val_loss, beside.loss) == (without.val_loss, without.loss)
        assert beside.ema_val_loss != beside.val_loss
    assert_close(averaged.weights(), plain.weights(), atol=0)
    averaged.assign({**averaged.weights(), **averages(averaged.run)})
    data, split = averaged.data, averaged.data.rows["validation"]
    logits = np.asarray(averaged.classifier.network(data.images[split].astype(np.float32)), np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -logs[np.arange(len(split)), data.labels[split]].mean()
    assert rows[1][-1].ema_val_loss == pytest.approx(expected, abs=1e-5)


def run_of(toy):
    toy.run = toy.phase_run()
    return toy.run


@pytest.mark.parametrize(("ema_accuracy", "is_better"), [(0.9, True), (0.3, False), (0.5, False)])
def test_best_weights_are_the_averages_where_these_did_better(make_toy, ema_accuracy, is_better):
    run = make_toy({**WHOLE, "ema": 0.9}).phase_run()
    run.fit_epoch(0, [], Quiet())
    row = Epoch(1, "phase", 0.1, 1.0, 0.5, 1.0, 0.5, ema_val_loss=1.0, ema_val_accuracy=ema_accuracy)

    best = run.best_weights(row)

    assert bool(best) == is_better
    for path, value in best.items():
        np.testing.assert_array_equal(value, averages(run)[path])


def test_run_whose_best_epoch_is_an_average_s_ends_with_the_average(make_toy, monkeypatch):
    monkeypatch.setattr(Epoch, "prefers_average", lambda self, monitor: True)
    toy = make_toy({**WHOLE, "epochs": 3, "ema": 0.9}, monitor="val_loss")

    best = toy.train().best

    data, split = toy.data, toy.data.rows["validation"]
    logits = np.asarray(toy.classifier.network(data.images[split].astype(np.float32)), np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -logs[np.arange(len(split)), data.labels[split]].mean()
    assert best.ema_val_loss == pytest.approx(expected, abs=1e-5)


# The same step, done in another way


@pytest.mark.parametrize("num_pictures", [24, 21, 17], ids=["whole batches", "the last has 5", "the last has 1"])
@pytest.mark.parametrize("train", ["all", "head"])
def test_batch_in_parts_trains_as_the_whole_one(make_toy, make_data, train, num_pictures):
    data = make_data(train=num_pictures)
    phase = {**SGD, "train": train, "weight_decay": 0.1, "clip_norm": 0.5, "l2_sp": 0.1 if train == "all" else 0.0}
    options = {"data": data, "model": {"weights": "none", "head": {"dropout": 0.0, "weight_decay": 0.1}}}

    found = after(make_toy, phase, epochs=2, runtime={"gradient_accumulation_steps": 3}, **options)

    expected = after(make_toy, phase, epochs=2, **options)
    assert_close(found, expected)


def test_batch_in_parts_tells_the_same_loss_accuracy_and_gradient_norms(make_toy, make_data):
    data = make_data(train=21)
    whole, parts = (
        make_toy(WHOLE, data=data, runtime={"gradient_accumulation_steps": count}).phase_run() for count in (1, 3)
    )

    (row, watch), (row_in_parts, watch_in_parts) = (run.fit_epoch(0, [], Quiet()) for run in (whole, parts))

    assert row_in_parts.loss == pytest.approx(row.loss, abs=1e-6)
    assert row_in_parts.accuracy == row.accuracy
    assert watch_in_parts.gradient_norms == pytest.approx(watch.gradient_norms, rel=1e-5)


def test_parts_of_a_batch_drop_out_different_features(make_toy, make_data, with_pictures):
    data = make_data(train=8)
    data = with_pictures(data, np.repeat(data.images[:1], len(data.images), axis=0))
    options = {"data": data, "model": {"weights": "none", "head": {"dropout": 0.5}}}

    one, two = (
        after(make_toy, SGD, runtime={"gradient_accumulation_steps": count}, **options)["logits/kernel"]
        for count in (1, 2)
    )

    assert np.abs(one - two).max() > 1e-4


@pytest.mark.parametrize("phase", [WHOLE, {**SGD, "train": {"last_stages": 1}, "batch_norm": "train"}])
def test_compiling_trains_the_same_to_rounding(make_toy, make_data, phase):
    data = make_data(train=21)

    found = after(make_toy, phase, epochs=2, data=data, runtime={"xla": "on"})

    # Sums in another order, carried through six steps. (Measured: 2e-7.)
    assert_close(found, after(make_toy, phase, epochs=2, data=data), atol=2e-6)


@pytest.mark.parametrize("augment", [["flip", {"rotate": 20}, {"mixup": {"alpha": 1.0}}, {"elastic": 2.0}]])
def test_compiling_takes_any_augmentation_and_dropout(make_toy, augment):
    options = {"augment": augment, "model": {"weights": "none", "head": {"dropout": 0.5}}}

    found = after(make_toy, WHOLE, runtime={"xla": "on"}, **options)

    assert all(np.isfinite(value).all() for value in found.values())


# Precision


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_head_and_loss_are_float32_in_mixed_precision(make_toy, precision):
    import keras

    toy = make_toy(WHOLE, precision=precision)
    trainer = toy.phase_run().trainer

    objective, sums = trainer.objective(
        keras.ops.convert_to_tensor(toy.data.images[:4].astype(np.float32)),
        keras.ops.one_hot(toy.data.labels[:4], 3),
        share=0.25,
    )

    assert toy.classifier.network.get_layer("logits").compute_dtype == "float32"
    assert {str(one.dtype) for one in (objective, sums)} == {"<dtype: 'float32'>"}
