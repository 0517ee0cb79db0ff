"""A class without a good picture does not stop a run, and is no output of its model."""

import json

import pytest

from transferkit import FineTuner
from transferkit.progress import Quiet


@pytest.mark.model
def test_run_goes_on_without_a_class_whose_pictures_are_all_broken(tmp_path, folder_maker):
    folder = folder_maker(tmp_path / "photos", classes=3, each=8)
    for file in (folder / "class_1").iterdir():
        file.write_bytes(b"\xff\xd8\xff no picture")
    tuner = FineTuner(
        {"source": {"folder": str(folder)}, "image_size": 32, "split": {"validation": 0.25, "test": 0.25}},
        model={"weights": "none"},
        phases=[{"name": "warm-up", "train": "head", "epochs": 1, "learning_rate": 1e-2, "augment": False}],
    )

    result = tuner.run(tmp_path / "run", progress=Quiet())

    assert (tmp_path / "run" / "classes.txt").read_text() == "class_0\nclass_2\n"
    assert result.model.output_shape[-1] == 2
    assert [
        one["name"] for one in json.loads((tmp_path / "run" / "results.json").read_text())["test"]["per_class"]
    ] == [
        "class_0",
        "class_2",
    ]
    assert "class_1,a class left out" in (tmp_path / "run" / "skipped.csv").read_text()
