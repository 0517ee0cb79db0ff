"""Keras' backend and the precision of the run."""

import os
import sys
from types import SimpleNamespace

import pytest

from transferkit.errors import RuntimeSetupError
from transferkit.train.runtime import choose_backend, resolve_precision


def keras_on(backend: str) -> SimpleNamespace:
    return SimpleNamespace(config=SimpleNamespace(backend=lambda: backend))


@pytest.fixture
def no_keras(monkeypatch):
    """As in a process that has not imported Keras and says nothing about it."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "")  # so that the variable is put back as it was
    monkeypatch.delenv("KERAS_BACKEND")


def test_backend_is_chosen_before_keras_is_imported(no_keras):
    choose_backend("tensorflow")

    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backend_in_the_environment_is_refused_with_the_way_out(no_keras, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)

    with pytest.raises(RuntimeSetupError) as caught:
        choose_backend("tensorflow")

    assert "the environment sets KERAS_BACKEND" in str(caught.value)
    assert "Set KERAS_BACKEND=tensorflow (or unset it)" in str(caught.value)
    assert os.environ["KERAS_BACKEND"] == backend


def test_same_backend_in_the_environment_is_fine(no_keras, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    choose_backend("tensorflow")


def test_keras_that_runs_on_another_backend_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", keras_on("jax"))

    with pytest.raises(RuntimeSetupError) as caught:
        choose_backend("tensorflow")

    assert "Keras is already imported with 'jax'" in str(caught.value)
    assert "restart the runtime" in str(caught.value)


def test_keras_that_runs_on_the_backend_is_fine_whatever_the_environment_says(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", keras_on("tensorflow"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    choose_backend("tensorflow")


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_precision_that_is_named_is_taken(precision):
    assert resolve_precision(precision) == precision


@pytest.mark.model
@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([], "float32"),
        ([(7, 5)], "mixed_float16"),
        ([(7, 0), (8, 6)], "mixed_float16"),
        ([(6, 1)], "float32"),
        ([(8, 0), (6, 1)], "float32"),
        ([None], "float32"),
    ],
    ids=["no GPU", "T4", "two fast ones", "slow at float16", "one slow one", "unknown GPU"],
)
def test_auto_precision_is_float16_only_where_every_gpu_is_fast_at_it(monkeypatch, capabilities, precision):
    import tensorflow as tf

    details = [{"compute_capability": one} if one else {} for one in capabilities]
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: [SimpleNamespace(name=index) for index in range(len(details))]
    )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu.name])

    assert resolve_precision("auto") == precision
