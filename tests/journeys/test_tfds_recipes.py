"""The shipped recipes for TensorFlow Datasets, end to end on small data under the real names, weights by path."""

import csv
import io
import json
from collections import Counter

import keras
import numpy as np
import pytest
from PIL import Image

from transferkit import FineTuner
from transferkit.backbones.table import BACKBONES
from transferkit.progress import Quiet

pytestmark = pytest.mark.backbones

FLOWERS = ["dandelion", "daisy", "tulips", "sunflowers", "roses"]
COUNTS = {
    "tf_flowers": {"train": 60},
    "oxford_iiit_pet": {"train": 37 * 3, "test": 37},
    "cats_vs_dogs": {"train": 100},
}


def encoded(number: int, label: int) -> io.BytesIO:
    pixels = np.random.default_rng([number, label]).integers(0, 90, (40, 50, 3))
    pixels[..., label % 3] += 100 + label
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG")
    file.seek(0)
    return file


def example(name: str, number: int) -> dict:
    import tensorflow_datasets as tfds

    label = number % {"tf_flowers": 5, "oxford_iiit_pet": 37, "cats_vs_dogs": 2}[name]
    features = {"image": encoded(number, label), "label": label}
    if name == "cats_vs_dogs":
        features["image/filename"] = f"{number}.jpg"
    if name == "oxford_iiit_pet":
        features |= {
            "species": number % 2,
            "file_name": f"{number}.jpg",
            "segmentation_mask": np.zeros((40, 50, 1), np.uint8),
            "head_bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
        }
    return features


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The three data sets in TFDS' own files, with the real builders' names, versions and features."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    for name, counts in COUNTS.items():
        builder = tfds.builder(name, data_dir=folder)
        numbers = iter(range(sum(counts.values())))
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=builder.version,
            features=tfds.features.FeaturesDict(dict(builder.info.features.items())),
            split_datasets={
                split: [(f"{split}{place}", example(name, next(numbers))) for place in range(count)]
                for split, count in counts.items()
            },
            data_dir=folder,
        )
    return str(folder)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights file for a backbone, as a user has one."""
    folder = tmp_path_factory.mktemp("weights")

    def save(name: str):
        path = folder / f"{name}.weights.h5"
        if not path.exists():
            spec = BACKBONES[name]
            spec.build(input_tensor=keras.Input((spec.min_size_px,) * 2 + (3,))).save_weights(path)
        return str(path)

    return save


def run(recipe: str, data_dir: str, weights, run_dir, **overrides):
    tuner = FineTuner.from_recipe(recipe)
    backbone = tuner.recipe.model.backbone
    source = tuner.recipe.data.source.model_copy(update={"data_dir": data_dir})
    tuner = FineTuner.from_recipe(
        recipe,
        data__source={"tfds": source.model_dump(exclude={"kind"})},
        data__image_size=BACKBONES[backbone].min_size_px,
        model__weights=weights(backbone),
        phases__0__epochs=1,
        **overrides,
    )
    return tuner.run(run_dir, progress=Quiet())


def splits_of(result) -> Counter:
    with (result.run_dir / "splits.csv").open(newline="") as file:
        return Counter(row["split"] for row in csv.DictReader(file))


def test_flowers_takes_labels_in_the_builder_s_order_and_carves_both_splits(data_dir, weights, tmp_path):
    result = run("flowers", data_dir, weights, tmp_path / "run", phases__1__epochs=1)

    assert (result.run_dir / "classes.txt").read_text().split() == FLOWERS
    assert splits_of(result) == {"train": 48, "validation": 6, "test": 6}
    assert json.loads((result.run_dir / "results.json").read_text())["test"]["num_images"] == 6


def test_pets_keeps_the_data_set_s_own_test_split_and_unfreezes_gradually(data_dir, weights, tmp_path):
    result = run(
        "pets", data_dir, weights, tmp_path / "run", phases__1__epochs=2, phases__1__train__gradual__every_epochs=1
    )

    assert splits_of(result)["test"] == 37
    assert splits_of(result)["train"] + splits_of(result)["validation"] == 111
    assert [row.phase for row in result.history] == ["warm-up", "fine-tune 1", "fine-tune 2"]


def test_cats_vs_dogs_takes_the_slices_that_the_recipe_names(data_dir, weights, tmp_path):
    result = run("cats_vs_dogs", data_dir, weights, tmp_path / "run", phases__1__epochs=1)

    assert splits_of(result) == {"train": 40, "validation": 10, "test": 10}
    assert result.report["test"].num_images == 10
