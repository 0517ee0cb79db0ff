"""Every backbone of the table goes through two phases, from a weights file given by path, and learns."""

import gc

import keras
import pytest

from transferkit import FineTuner
from transferkit.backbones.table import BACKBONES
from transferkit.progress import Quiet

pytestmark = pytest.mark.backbones

DESCENT = {"optimizer": {"name": "sgd", "momentum": 0.0}, "weight_decay": 0.0, "batch_norm": "train"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory, session_folder_maker):
    return session_folder_maker(tmp_path_factory.mktemp("photos") / "own", classes=2, each=8)


@pytest.mark.parametrize("name", BACKBONES)
def test_two_phases_lower_the_loss(name, photos, tmp_path):
    spec = BACKBONES[name]
    weights = tmp_path / f"{name}.weights.h5"
    keras.utils.set_random_seed(3)
    start = spec.build(input_tensor=keras.Input((spec.min_size_px, spec.min_size_px, 3)))
    start.save_weights(weights)
    # All 12 training pictures in every step and no dropout: plain gradient descent, so that the loss has to fall.
    # Batch norm follows: at a random start its stored statistics do not fit the activations.
    phases = [
        {"name": "last stage", "train": {"last_stages": 1}, "epochs": 3, "learning_rate": 1e-2, **DESCENT},
        {
            "name": "two stages",
            "train": {"last_stages": 2},
            "epochs": 3,
            "learning_rate": 1e-3,
            "clip_norm": 1.0,
            **DESCENT,
        },
    ]
    tuner = FineTuner(
        data={
            "source": {"folder": str(photos)},
            "image_size": spec.min_size_px,
            "batch_size": 12,
            "split": {"validation": 0.25, "test": 0.0},
        },
        backbone=name,
        model={"weights": str(weights), "head": {"dropout": 0.0}},
        phases=phases,
        evaluate=["validation"],
        checkpoint={"every": "1 h"},  # their files are as large as the backbone, and tested elsewhere
    )

    result = tuner.run(tmp_path / "run", progress=Quiet())

    losses = [row.loss for row in result.history]
    assert losses[2] < losses[0]
    assert losses[5] < losses[3]
    keras.backend.clear_session()
    gc.collect()
