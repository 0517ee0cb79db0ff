import keras
import numpy as np
import pytest
from keras import layers

from transferkit.backbones.spec import BackboneSpec
from transferkit.backbones.table import BACKBONES
from transferkit.backbones.weights import check_weights_path, load_file, load_weights
from transferkit.model.classifier import build_classifier, probability_model
from transferkit.recipe.model import HeadSpec, ModelSpec

# Saving a whole model as .h5 works, and Keras warns that it is the old way.
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

# Keras 3's weights, those of Keras 1 and 2, and whole models, old and new.
FORMATS = ("toy.weights.h5", "weights_only.h5", "whole_model.h5", "toy.keras")


@pytest.mark.parametrize("name", FORMATS)
def test_load_file_fills_a_backbone_from_every_format(toy, save, assert_equal_weights, name, tmp_path):
    source, target = toy(seed=0), toy()
    save(source, tmp_path / name)

    load_file(target, tmp_path / name)

    assert_equal_weights(target.get_weights(), source.get_weights())


@pytest.mark.parametrize("name", FORMATS)
def test_load_file_leaves_out_the_head_of_a_classifier(toy, save, assert_equal_weights, name, tmp_path):
    source, target = toy(head=True, seed=0), toy()
    save(source, tmp_path / name)

    load_file(target, tmp_path / name)

    assert_equal_weights(target.get_weights(), source.get_weights()[: len(target.get_weights())])


@pytest.mark.parametrize("name", FORMATS)
def test_load_file_does_not_depend_on_names_that_keras_numbers(toy, save, assert_equal_weights, name, tmp_path):
    source, target = toy(fixed_names=False, seed=0), toy()
    save(source, tmp_path / name)

    load_file(target, tmp_path / name)

    assert_equal_weights(target.get_weights(), source.get_weights())


def test_load_file_is_not_misled_by_equal_names_in_another_order(toy, save_as_keras_1, assert_equal_weights, tmp_path):
    source, target = toy(seed=0), toy()
    first, second = source.get_layer("conv2d_1"), source.get_layer("last")
    first.name, second.name = "last", "conv2d_1"
    save_as_keras_1(source, tmp_path / "renamed.h5")

    load_file(target, tmp_path / "renamed.h5")

    assert_equal_weights(target.get_weights(), source.get_weights())


def test_load_file_reads_names_that_are_split_over_attributes(toy, save_as_keras_1, assert_equal_weights, tmp_path):
    source, target = toy(seed=0), toy()
    save_as_keras_1(source, tmp_path / "large.h5", numbered_attributes=True)

    load_file(target, tmp_path / "large.h5")

    assert_equal_weights(target.get_weights(), source.get_weights())


def test_load_file_goes_by_what_is_in_an_h5_file(toy, save_as_keras_1, assert_equal_weights, tmp_path):
    """Keras 2 wrote its own format under Keras 3's suffix too."""
    source, old, new = toy(seed=0), toy(), toy()
    save_as_keras_1(source, tmp_path / "keras_2.weights.h5")
    source.save_weights(tmp_path / "keras_3.weights.h5")
    (tmp_path / "keras_3.weights.h5").rename(tmp_path / "keras_3.h5")

    load_file(old, tmp_path / "keras_2.weights.h5")
    load_file(new, tmp_path / "keras_3.h5")

    assert_equal_weights(old.get_weights(), source.get_weights())
    assert_equal_weights(new.get_weights(), source.get_weights())


def test_load_file_takes_a_backbone_nested_in_a_saved_model(toy, assert_equal_weights, tmp_path):
    source, target = toy(seed=0), toy()
    keras.Sequential([keras.Input((16, 16, 3)), source, layers.Flatten(), layers.Dense(2)]).save(tmp_path / "own.keras")

    load_file(target, tmp_path / "own.keras")

    assert_equal_weights(target.get_weights(), source.get_weights())


def test_load_file_keeps_the_optimizer_of_a_trained_model_apart(toy, assert_equal_weights, tmp_path):
    source, target = toy(head=True), toy()
    source.compile("adam", "mse")
    source.train_on_batch(np.ones((2, 16, 16, 3)), np.ones((2, 3)))
    source.save_weights(tmp_path / "trained.weights.h5")
    source.save(tmp_path / "trained.keras")

    for name in ("trained.weights.h5", "trained.keras"):
        load_file(target, tmp_path / name)

        assert_equal_weights(target.get_weights(), source.get_weights()[: len(target.get_weights())])


def test_weights_of_a_run_fill_the_next_one(tmp_path):
    spec = BACKBONES["vgg16"]
    model = ModelSpec(backbone="vgg16", weights="none", head=HeadSpec(pooling="concat", hidden=(8,)))
    first = build_classifier(model, spec, image_size_px=32, num_classes=3, seed=1)
    probability_model(first.network).save(tmp_path / "model.keras")

    again = ModelSpec(backbone="vgg16", weights=str(tmp_path / "model.keras"))
    second = build_classifier(again, spec, image_size_px=48, num_classes=5, seed=2)

    for path, variable in second.weights().items():
        if path.startswith("block"):
            np.testing.assert_array_equal(variable, first.weights()[path])


def test_published_file_with_its_classification_top_fills_a_backbone(save_as_keras_1, assert_equal_weights, tmp_path):
    """VGG16's top is three dense layers behind the last block."""
    top = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=10)
    save_as_keras_1(top, tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels.h5")
    backbone = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))

    load_file(backbone, tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels.h5")

    assert_equal_weights(backbone.get_weights(), top.get_weights()[:26])


def test_load_weights_none_keeps_the_random_start(toy, assert_equal_weights):
    backbone = toy()
    before = backbone.get_weights()

    load_weights(backbone, BACKBONES["vgg16"], "none")

    assert_equal_weights(backbone.get_weights(), before)


def test_load_weights_imagenet_calls_the_function_of_a_row(toy):
    filled = []
    row = BackboneSpec("toy", toy, toy, 16, 16, 4, ("last",), filled.append, "", "")
    backbone = toy()

    load_weights(backbone, row, "imagenet")

    assert filled == [backbone]


@pytest.mark.parametrize(
    ("weights", "fault"),
    [
        ("imagenet", None),
        ("none", None),
        ("there.h5", None),
        ("there.weights.h5", None),
        ("there.keras", None),
        ("gone.h5", "is neither imagenet, none, nor the path of a file"),
        ("imagnet", "is neither imagenet, none, nor the path of a file"),
        ("there.pth", "must end in .weights.h5, .h5, .keras"),
    ],
)
def test_check_weights_path_says_what_is_wrong(weights, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("there.h5", "there.weights.h5", "there.keras", "there.pth"):
        (tmp_path / name).touch()

    assert check_weights_path(weights) == fault
