"""Reports on the splits that a recipe asks for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from transferkit.data.load import Data
from transferkit.progress import Quiet

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def brightness():
    """A model whose probabilities of two classes are a picture's first value and what is left to 1."""
    import keras

    images = keras.Input((2, 2, 3))
    share = keras.layers.Lambda(lambda pixels: pixels[:, 0, 0, :1] / 255.0)(images)
    return keras.Model(images, keras.layers.Concatenate()([share, 1 - share]))


@pytest.fixture
def data() -> Data:
    """Ten pictures, the bright ones of class 0. Class 1 leads in the training split, class 0 in the test split."""
    values = np.array([255, 0, 204, 51, 255, 0, 153, 102, 0, 0], np.uint8)
    return Data(
        class_names=("bright", "dark"),
        images=np.broadcast_to(values[:, None, None, None], (10, 2, 2, 3)),
        labels=np.array([0, 1, 0, 1, 1, 1, 0, 1, 1, 1], np.int32),
        weights=np.ones(10, np.float32),
        paths=tuple("abcdefghij"),
        digests=tuple(bytes([row]) * 32 for row in range(10)),
        rows={"train": np.array([8, 9, 3]), "validation": np.array([4, 1]), "test": np.array([7, 2, 6, 5, 0])},
        skipped=(),
    )


def evaluate(model, data, *splits):
    from transferkit.evaluate.evaluate import evaluate_splits
    from transferkit.train.placement import local_strategy

    recipe = SimpleNamespace(evaluate=splits, data=SimpleNamespace(batch_size=2))
    return evaluate_splits(model, data, recipe, strategy=local_strategy(), progress=Quiet())


def reports_and_probabilities(model, data, *splits):
    found = evaluate(model, data, *splits)
    return found.reports, found.probabilities


@pytest.mark.parametrize("splits", [("validation",), ("test",), ("validation", "test")])
def test_reports_are_those_that_the_recipe_asks_for(brightness, data, splits):
    reports, probabilities = reports_and_probabilities(brightness, data, *splits)

    assert tuple(reports) == tuple(probabilities) == splits


def test_probabilities_stand_in_the_order_of_the_split_s_rows(brightness, data):
    _, probabilities = reports_and_probabilities(brightness, data, "test")

    np.testing.assert_allclose(probabilities["test"][:, 0], [0.4, 0.8, 0.6, 0.0, 1.0], atol=1e-6)


def test_report_counts_every_picture_of_the_split_once(brightness, data):
    reports, _ = reports_and_probabilities(brightness, data, "validation", "test")

    assert [reports[split].num_images for split in ("validation", "test")] == [2, 5]
    assert reports["validation"].accuracy == 0.5
    assert reports["test"].accuracy == 1.0


def test_majority_baseline_is_the_training_split_s_most_frequent_class(brightness, data):
    reports, _ = reports_and_probabilities(brightness, data, "test")

    # Class 1 leads in training, and has 2 of the 5 test pictures.
    assert reports["test"].majority_baseline.accuracy == pytest.approx(2 / 5)


# Pictures of several classes


@pytest.fixture
def several(data) -> Data:
    """The same, where dark pictures of more than 1/5 are bright as well. The combination of both leads in training."""
    labels = np.array([[1, 0], [0, 1], [1, 1], [1, 1], [1, 0], [0, 1], [1, 1], [0, 1], [1, 1], [0, 1]], bool)
    return replace(data, labels=labels)


@pytest.mark.parametrize("splits", [("validation", "test"), ("test",)])
def test_thresholds_come_from_validation_and_act_on_test(brightness, several, splits):
    found = evaluate(brightness, several, *splits)

    # Validation has a picture of (1, 0) and one of (0, 1), each with its own class alone.
    np.testing.assert_allclose(found.thresholds, [0.5, 0.5])
    assert tuple(found.reports) == splits
    # Test: 0.4, 0.8, 0.6, 0.0 and 1.0 of the first class; (0, 1), (1, 1), (1, 1), (0, 1), (1, 0).
    assert found.reports["test"].accuracy == pytest.approx(3 / 5)
    assert [one.threshold for one in found.reports["test"].per_class] == [0.5, 0.5]


def test_baseline_is_the_training_split_s_most_frequent_combination(brightness, several):
    baseline = evaluate(brightness, several, "test").reports["test"].majority_baseline

    assert baseline.class_names == ("bright", "dark")
    assert baseline.accuracy == pytest.approx(2 / 5)


def test_pictures_of_one_class_have_no_thresholds(brightness, data):
    assert evaluate(brightness, data, "test").thresholds is None
