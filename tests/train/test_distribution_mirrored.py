"""Two replicas on the logical devices of one CPU, trained beside a single device in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

CASES = Path(__file__).with_name("distribution_cases.py")
TRAINED = (
    "adamw",
    "clipped",
    "uneven",
    "too_few",
    "batch_norm",
    "batch_norm_too_few",
    "accumulated",
    "balanced",
    "two_phases",
    "head",
)
FIRST_STEPS = ("first_frozen", "first_affine", "first_train", "first_balanced")
# Sums over replicas are added in another order than sums over a whole batch.
ROUNDING = 1e-6
# Among the state are running sums of squared gradients, which round more; 3e-6 measured.
SUMS_ROUNDING = 1e-5
# Batch norm by the statistics of 7 pictures magnifies it; 5e-7 measured.
GRADIENT_ROUNDING = 1e-5
# The same in half precision: a step of 0.1 with gradients below 1.
HALF_ROUNDING = 1e-3


@pytest.fixture(scope="module")
def found():
    """What all cases found, by name."""
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, str(CASES)], env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", TRAINED)
def test_distribution_leaves_the_weights_of_one_device_after_20_steps(found, case):
    assert found[case]["same_start"]
    assert found[case]["steps"] == 20
    assert found[case]["moved"] > 1e-3
    assert found[case]["weights"] < ROUNDING


@pytest.mark.parametrize("case", TRAINED)
def test_distribution_leaves_the_optimizer_state_and_history_of_one_device(found, case):
    assert found[case]["state"] < SUMS_ROUNDING
    assert found[case]["history"] < ROUNDING


@pytest.mark.parametrize("case", TRAINED)
def test_distribution_keeps_all_replicas_equal_to_the_bit(found, case):
    assert found[case]["replicas"] == 0.0


@pytest.mark.parametrize("case", FIRST_STEPS)
def test_distribution_takes_the_gradients_of_one_device_on_an_uneven_batch(found, case):
    assert found[case]["rows"] == 7
    assert found[case]["gradients"] < GRADIENT_ROUNDING
    assert found[case]["sums"] < ROUNDING


def test_distribution_goes_on_within_an_oversampled_epoch_to_the_same_bits(found):
    resumed = found["resumed"]

    assert resumed["steps_per_epoch"] == 5
    assert resumed["interrupted"]
    assert resumed["epochs"] == [2, 1, 2]
    assert resumed["apart"] == 0.0
    assert resumed["same_history"]


@pytest.mark.parametrize("case", ["batch_norm", "batch_norm_too_few"])
def test_distribution_moves_batch_norm_statistics_as_one_device_does(found, case):
    assert 0 < found[case]["statistics"] < ROUNDING


def test_distribution_takes_exact_batch_statistics_where_the_spread_is_far_below_the_mean(found):
    moments = found["moments"]

    assert moments["mean"] < ROUNDING
    assert moments["variance"] < 1e-4  # the mean, 1000, is rounded to 6e-5, and the spread is 1
    assert moments["restored"]


def test_distribution_keeps_the_averages_of_one_device(found):
    one, two = found["adamw"]["averaged_loss"]  # the averages themselves are part of the optimizer's state

    assert one == pytest.approx(two, abs=ROUNDING)


def test_distribution_skips_a_step_whose_gradients_overflow_on_one_replica_only(found):
    overflow = found["overflow"]

    assert overflow["skipped"] == [True, True]
    assert overflow["scales"] == [0.5, 0.5, 0.5]  # of the single device and of both replicas


def test_distribution_goes_on_after_an_overflow_as_one_device_does(found):
    overflow = found["overflow"]

    assert min(overflow["moved"]) > 1e-3
    assert overflow["apart"] < HALF_ROUNDING
    assert overflow["replicas"] == 0.0


def test_distribution_draws_other_augmentation_and_dropout_on_each_replica(found):
    assert found["draws"]["differ_between_replicas"] == [True, True]
    assert found["draws"]["differ_between_steps"] == [True, True]


def test_distribution_draws_the_same_when_run_again(found):
    assert found["draws"]["same_again"]
    assert found["draws"]["trained_again"] == 0.0


def test_distribution_with_random_layers_learns_as_one_device_does(found):
    """Equal weights cannot be asked for: each replica draws its own numbers."""
    draws = found["draws"]

    assert draws["losses"][-1] < 0.5 * draws["losses"][0]
    assert draws["losses"][-1] == pytest.approx(draws["losses_alone"][-1], abs=0.3)


def test_distribution_stores_the_features_of_one_device_to_the_bit(found):
    assert found["features"]["features_equal"] == [True, True]


def test_distribution_computes_outputs_of_any_length_to_the_bit(found):
    assert found["features"]["rows"] == {str(length): length for length in (1, 31, 32, 33, 65)}
    assert all(found["features"]["lengths_equal"].values())


def test_distribution_saves_a_model_that_predicts_the_same_when_loaded(found):
    assert found["saved"]["sum"] == pytest.approx(20, abs=1e-4)  # rows of probabilities
    assert found["saved"]["apart"] < ROUNDING


def test_distribution_saves_a_model_that_other_backends_load(found):
    assert found["saved"]["needs_tensorflow"] == []
