"""Transfer works: real ImageNet weights against none, on real pictures, with the quickstart recipe made smaller."""

import pytest

from transferkit import FineTuner
from transferkit.progress import Quiet

pytestmark = pytest.mark.model


def test_imagenet_weights_are_25_points_better_than_none_on_the_sample(tmp_path):
    small = {
        "data__image_size": 96,
        "phases": [{"name": "warm-up", "train": "head", "epochs": 8, "learning_rate": 3e-3, "augment": False}],
    }

    ours = FineTuner.from_recipe("quickstart", **small).run(tmp_path / "ours", progress=Quiet())
    none = FineTuner.from_recipe("quickstart", **small, model__weights="none").run(tmp_path / "none", progress=Quiet())

    assert ours.report["test"].num_images == none.report["test"].num_images >= 90
    assert ours.report["test"].accuracy >= 0.6
    assert ours.report["test"].accuracy >= none.report["test"].accuracy + 0.25
