"""Mixed precision: 16 bits where they are wanted, 32 where they are needed."""

import numpy as np
import pytest

from transferkit.progress import Quiet

pytestmark = pytest.mark.model


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_phase_in_mixed_precision_trains_float32_weights_to_finite_losses(make_toy, precision):
    phase = {"train": "all", "batch_norm": "train", "stage_decay": 0.5, "clip_norm": 1.0, "learning_rate": 1e-3}
    toy = make_toy({**phase, "epochs": 2}, augment=["flip"], precision=precision)
    before = toy.weights()

    training = toy.train()

    assert training.error is None
    assert all(np.isfinite([row.loss, row.val_loss]).all() for row in training.epochs)
    after = toy.weights()
    assert {weights.dtype for weights in after.values()} == {np.dtype(np.float32)}
    assert not np.array_equal(after["first_conv/kernel"], before["first_conv/kernel"])
    assert toy.classifier.network.output.dtype == "float32"
    assert toy.classifier.network.get_layer("third_conv").compute_dtype == precision.removeprefix("mixed_")


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_phase_on_features_in_mixed_precision_learns(make_toy, precision):
    toy = make_toy({"epochs": 3}, precision=precision)

    losses = [row.loss for row in toy.train().epochs]

    assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_pixels_reach_the_preprocessing_unrounded_in_training(make_toy, monkeypatch, precision):
    toy = make_toy({"train": "all"}, precision=precision)
    layer, seen = toy.classifier.network.get_layer("preprocess"), []
    call = layer.call

    def watch(pixels, *arguments, **options):
        seen.append(np.asarray(pixels))
        return call(pixels, *arguments, **options)

    monkeypatch.setattr(layer, "call", watch)
    pixels = np.full((1, 32, 32, 3), 200.01, np.float32)  # neither 16-bit format has this number
    toy.phase_run().trainer.network(pixels, training=True)

    np.testing.assert_array_equal(seen[-1], pixels)


def test_float16_overflow_skips_a_step_and_leaves_finite_weights(make_toy, make_data):
    toy = make_toy({"train": "all"}, data=make_data(train=8), precision="mixed_float16")
    run, before = toy.phase_run(), toy.weights()
    run.trainer.optimizer.dynamic_scale.assign(1e38)

    run.fit_epoch(0, [], Quiet())

    after = toy.weights()
    assert all(np.array_equal(after[path], before[path]) for path in before)
    assert int(run.trainer.optimizer.iterations.numpy()) == 0
