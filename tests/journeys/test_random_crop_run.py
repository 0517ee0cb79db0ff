"""A run whose pictures are prepared with a margin: everything but training's random crops sees their middle."""

import csv

import numpy as np
import pytest
from PIL import Image

from transferkit import FineTuner
from transferkit.progress import Quiet

pytestmark = pytest.mark.model


def test_prediction_of_a_file_equals_the_run_s_own_where_pictures_have_a_margin(picture_folder, tmp_path):
    tuner = FineTuner(
        {"source": {"folder": str(picture_folder)}, "image_size": 32, "batch_size": 8},
        backbone="efficientnet_lite0",
        model={"weights": "none"},
        augment=[{"random_crop": {"margin": 0.25}}, "flip"],
        phases=[{"name": "head", "train": "head", "epochs": 1, "learning_rate": 1e-2}],
        cache={"folder": str(tmp_path / "cache")},
    )

    result = tuner.run(tmp_path / "run", progress=Quiet())
    with open(tmp_path / "run" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = result.predict([picture_folder / row["path"] for row in rows])

    for row, one in zip(rows, found, strict=True):
        for name, probability in one.probabilities.items():
            np.testing.assert_allclose(float(row[f"probability {name}"]), probability, atol=1e-6)  # float rounding
    whole = Image.open(picture_folder / rows[0]["path"])
    whole.paste("white", (0, 0, 40, 3))  # outside of the middle 32 of 40 pixels
    whole.save(tmp_path / "framed.png")
    framed = result.predict(tmp_path / "framed.png")[0]
    for name, probability in framed.probabilities.items():
        np.testing.assert_allclose(found[0].probabilities[name], probability, atol=1e-6)
