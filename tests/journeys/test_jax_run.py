"""`runtime.backend: jax` from the command line."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.model

SETTINGS = {
    "data.source": "{{folder: {folder}}}",
    "data.image_size": "32",
    "data.batch_size": "8",
    "model.backbone": "vgg16",
    "model.weights": "none",
    "runtime.backend": "jax",
    "runtime.strategy": "data_parallel",
    "augment": "[]",
    "phases": "[{{name: warm-up, train: head, epochs: 3, learning_rate: 1e-2}}]",
}


def finetune(folder: Path, run_dir: Path, *options: str) -> str:
    changes = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value.format(folder=folder)}")]
    command = [sys.executable, "-m", "transferkit", "finetune", "folder", *changes, "--run-dir", str(run_dir), *options]
    environment = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "XLA_FLAGS")}
    environment["TRANSFERKIT_HOME"] = str(run_dir.with_suffix(".home"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def weights_in(run_dir: Path, scratch: Path) -> dict[str, np.ndarray]:
    import h5py

    with zipfile.ZipFile(run_dir / "model.keras") as file:
        path = file.extract("model.weights.h5", scratch)
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as weights:
        weights.visititems(lambda name, one: found.update({name: one[...]}) if isinstance(one, h5py.Dataset) else None)
    return found


def test_finetune_on_jax_is_the_same_alone_and_as_two_workers_in_a_distribution_and_predicts(
    session_folder_maker, tmp_path
):
    pytest.importorskip("jax", reason='needs pip install "transferkit[jax]"')
    folder = session_folder_maker(tmp_path / "photos", classes=3, each=8)

    printed = finetune(folder, tmp_path / "alone")
    finetune(folder, tmp_path / "both", "--workers", "2")

    assert printed == ""  # nothing of JAX's and TensorFlow's own lines
    alone, both = (weights_in(tmp_path / name, tmp_path / f"{name}-weights") for name in ("alone", "both"))
    assert alone.keys() == both.keys()
    for name, array in alone.items():
        np.testing.assert_allclose(both[name], array, atol=1e-5, err_msg=name)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("alone", "both")]
    assert results[0].keys() == results[1].keys()

    done = subprocess.run(
        [sys.executable, "-m", "transferkit", "predict", tmp_path / "alone", folder / "class_0" / "0.png", "--json"],
        env={name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr.strip()) == (0, ""), done.stderr[-3000:]
    assert len(json.loads(done.stdout)[0]["probabilities"]) == 3
