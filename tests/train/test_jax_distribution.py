"""JAX on two devices and in two processes does what it does on one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CASES = Path(__file__).with_name("jax_cases.py")
# Sums over two devices are rounded in another order than over one: 1e-8 to 1e-7 measured.
TOLERANCE = 1e-5
WAYS = (
    *("adamw", "sgd", "clipped", "uneven", "smaller"),
    *("batch_norm", "random", "accumulated", "averaged", "two_phases"),
)

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def jax_environment(tmp_path_factory):
    """`jax_environment(devices)`: the environment of a process whose CPU counts as that many devices."""
    pytest.importorskip("jax", reason='needs pip install "transferkit[jax]"')
    cache = tmp_path_factory.mktemp("compiled")

    def environment(devices: int) -> dict[str, str]:
        return {
            **os.environ,
            "KERAS_BACKEND": "jax",
            # Programs this small take longer to optimise than to run.
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    return environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("jax")


@pytest.fixture(scope="module")
def measured(jax_environment, folder) -> dict:
    return _output(_start("devices", folder, jax_environment(2)))


def _start(command: str, target: Path, environment: dict[str, str]) -> subprocess.Popen:
    line = [sys.executable, str(CASES), command, str(target)]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _output(process: subprocess.Popen) -> dict:
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize("case", WAYS)
def test_weights_after_20_steps_on_two_jax_devices_equal_those_on_one(measured, case):
    result = measured[case]

    assert result["weights"] < TOLERANCE
    assert result["state"] < TOLERANCE
    assert result["moved"] > 100 * TOLERANCE


@pytest.mark.parametrize("case", WAYS)
def test_history_on_two_jax_devices_equals_that_on_one(measured, case):
    """Training and validation loss and accuracy, with 13 pictures to validate; the average's too where there is one."""
    assert measured[case]["history"] < TOLERANCE


def test_accumulated_parts_of_uneven_batches_add_up_to_whole_batches_on_jax(measured):
    assert measured["accumulated"]["from_undivided"] < TOLERANCE


def test_overflow_on_some_rows_leaves_finite_weights_on_two_jax_devices(measured):
    result = measured["float16"]

    assert result["scale"] < 2.0**22  # it did overflow
    assert result["moved"] > 1e-3  # and later it did not
    assert result["is_finite"]


def test_float16_weights_on_two_jax_devices_equal_those_on_one(measured):
    # Each device adds up its rows' gradients in float16, which has 11 bits; 0.3 % of the way after 20 steps measured.
    assert measured["float16"]["weights"] < 0.01 * measured["float16"]["moved"]


@pytest.mark.parametrize("devices", ["one", "two"])
def test_head_on_stored_features_ends_bit_equal_warm_cold_and_off_on_jax(measured, devices):
    digests = measured["feature_store"]

    assert digests[f"{devices} warm"] == digests[f"{devices} cold"] == digests[f"{devices} off"]


def test_features_are_the_same_bits_on_one_and_two_jax_devices(measured):
    assert measured["feature_store"]["one features"] == measured["feature_store"]["two features"]


def test_jax_run_imports_no_tensorflow(measured):
    assert not measured["has_tensorflow"]


def test_model_trained_on_jax_predicts_the_same_on_tensorflow(measured, folder):
    import keras

    expected = np.load(folder / "predicted.npz")

    probabilities = keras.models.load_model(folder / "model.keras").predict(expected["images"], verbose=0)

    # Two libraries add up in different orders.
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-6)


def test_two_jax_processes_end_with_the_weights_of_one(measured, jax_environment, folder):
    """With an uneven last batch, dropout, augmentation and trainable batch norm."""
    addresses = f"{_free_address()},{_free_address()}"
    cluster = [{"TRANSFERKIT_CLUSTER": addresses, "TRANSFERKIT_PROCESS": str(index)} for index in range(2)]
    files = [folder / f"process{index}.npz" for index in range(2)]

    pairs = list(zip(files, cluster, strict=True))
    started = [_start("process", file, {**jax_environment(1), **own}) for file, own in pairs]
    both = [_output(one) for one in started]

    alone = measured["process"]
    assert [one["processes"] for one in (*both, alone)] == [2, 2, 1]
    expected = np.load(folder / "alone.npz")
    for file in files:
        weights = np.load(file)
        for path in expected.files:
            np.testing.assert_allclose(weights[path], expected[path], atol=TOLERANCE, err_msg=path)
    np.testing.assert_allclose(both[0]["history"], alone["history"], atol=TOLERANCE)


def test_run_resumed_in_a_new_jax_process_ends_bit_equal(jax_environment, folder):
    """Adam, moving averages, trainable batch norm, dropout and augmentation; stopped after the first of two epochs."""
    checkpoints = folder / "checkpoints"

    first = _output(_start("resume", checkpoints, jax_environment(1)))
    second = _output(_start("resume", checkpoints, jax_environment(1)))

    assert first["whole_epochs_at_stop"] == 1
    assert second["resumed"] == first["straight"]
