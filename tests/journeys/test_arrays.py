"""FineTuner on pictures that Python code holds."""

import numpy as np
import pytest

from transferkit import FineTuner
from transferkit.data.arrays_source import split_off_arrays, take_arrays
from transferkit.errors import DataError
from transferkit.progress import Quiet

pytestmark = pytest.mark.model

SETTINGS = {
    "model": {"weights": "none"},
    "phases": [{"name": "all", "train": "head", "epochs": 1, "learning_rate": 1e-2}],
}


def draw(count=24) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose class shows in one colour."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(0).integers(0, 120, (count, 32, 32, 3)).astype(np.uint8)
    images[np.arange(count), :, :, labels] += 100
    return images, labels


def test_arrays_train_to_a_run_folder_like_files(tmp_path):
    images, labels = draw()
    data = {"source": {"arrays": (images, labels)}, "image_size": 32, "batch_size": 8, "split": {"validation": 0.25}}
    tuner = FineTuner(data, class_names=["red", "green", "blue"], backbone="vgg16", **SETTINGS)

    result = tuner.run(tmp_path / "run", progress=Quiet())

    assert (tmp_path / "run" / "classes.txt").read_text().split() == ["red", "green", "blue"]
    rows = (tmp_path / "run" / "splits.csv").read_text().splitlines()
    assert len(rows) == 25
    assert f"digest: {tuner.arrays.digest}" in (tmp_path / "run" / "recipe.yaml").read_text()
    assert set(result.report) == {"validation", "test"}
    assert split_off_arrays(data, ["red", "green", "blue"])[1].digest == tuner.recipe.data.source.digest


def test_a_recipe_of_arrays_is_refused_without_them_before_a_run_folder_is_made(tmp_path):
    tuner = FineTuner.from_recipe("quickstart", data__source={"arrays": "0" * 64}, model__weights="none")

    with pytest.raises(DataError, match="came from Python"):
        tuner.run(tmp_path / "run", progress=Quiet())

    assert not (tmp_path / "run").exists()


def test_arrays_are_planned(tmp_path):
    images, labels = draw()

    plan = FineTuner((images, labels), **SETTINGS).plan()

    assert sum(plan.num_pictures.values()) == 24


def test_what_no_fine_tuner_can_take_is_told():
    with pytest.raises(DataError, match="cannot take a int"):
        FineTuner(3)


@pytest.mark.parametrize("form", ["batches", "one by one", "weighted", "one-hot", "PyDataset"])
def test_datasets_of_tensorflow_and_keras_give_the_pictures_of_their_arrays(form):
    import keras
    import tensorflow as tf

    class Pictures(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            rows = slice(8 * number, 8 * number + 8)
            return images[rows], labels[rows]

    images, labels = draw()
    pairs = tf.data.Dataset.from_tensor_slices((images, labels))
    data = {
        "batches": lambda: pairs.batch(7),
        "one by one": lambda: pairs,
        "weighted": lambda: (
            tf.data.Dataset.zip(pairs, tf.data.Dataset.from_tensors(2.0).repeat(24))
            .map(lambda pair, weight: (*pair, weight))
            .batch(5)
        ),
        "one-hot": lambda: pairs.map(lambda image, label: (tf.cast(image, tf.float32), tf.one_hot(label, 3))).batch(6),
        "PyDataset": Pictures,
    }[form]()

    arrays = take_arrays(data)

    np.testing.assert_array_equal(np.stack(arrays.pictures), images)
    assert len(arrays.labels) == 24
    assert [np.argmax(label) if form == "one-hot" else label for label in arrays.labels] == list(labels)
    assert set(arrays.weights) == {2.0 if form == "weighted" else 1.0}


def test_a_dataset_that_repeats_for_ever_is_refused():
    import tensorflow as tf

    with pytest.raises(DataError, match="repeats for ever"):
        FineTuner(tf.data.Dataset.from_tensor_slices(draw()).repeat())
