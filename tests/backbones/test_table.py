import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from transferkit.backbones.stages import name_layers, split_stages
from transferkit.backbones.table import BACKBONES
from transferkit.model.classifier import build_classifier, probability_model
from transferkit.recipe.model import ModelSpec

pytestmark = pytest.mark.backbones

ROWS = list(BACKBONES.values())
# Where Keras keeps the preprocessing that the published weights were trained with.
APPLICATIONS = {
    "vgg16": keras.applications.vgg16,
    "vgg19": keras.applications.vgg19,
    "resnet50": keras.applications.resnet,
    "resnet101": keras.applications.resnet,
    "resnet152": keras.applications.resnet,
    "inception_v3": keras.applications.inception_v3,
    "xception": keras.applications.xception,
    "densenet121": keras.applications.densenet,
}
NUM_CLASSES = 3


def build(spec, *, size_px=None, precision="float32", seed=0):
    model = ModelSpec(backbone=spec.name, weights="none")
    size_px = size_px or spec.min_size_px
    return build_classifier(model, spec, image_size_px=size_px, num_classes=NUM_CLASSES, seed=seed, precision=precision)


@pytest.fixture(scope="module", params=ROWS, ids=lambda spec: spec.name)
def built(request):
    """One row of the table with its classifier at the smallest size; built once for all tests of this file."""
    return SimpleNamespace(spec=request.param, classifier=build(request.param))


@pytest.fixture(params=ROWS, ids=lambda spec: spec.name)
def spec(request):
    return request.param


@pytest.fixture
def pixels():
    def draw(size_px, count=2):
        return np.random.default_rng(7).uniform(0, 255, (count, size_px, size_px, 3)).astype("float32")

    return draw


def entering(classifier, cut, images):
    """What enters stage `cut`: the images through one stage after the other."""
    for network in classifier.stage_networks(cut):
        images = network(images)
    return images


def keras_builder(spec):
    builders = {name.lower(): build for name, build in vars(keras.applications).items() if callable(build)}
    return builders[spec.name.replace("_", "")]


def layer_shapes(layers):
    return [(type(layer).__name__, [tuple(one.shape) for one in layer.weights]) for layer in layers if layer.weights]


# The networks


def test_stages_hold_every_layer_exactly_once(built):
    *stages, head = built.classifier.layers
    staged = [layer.name for stage in (*stages, head) for layer in stage]

    assert sorted(staged) == sorted(layer.name for layer in built.classifier.network.layers)
    assert [layer.name for layer in head] == ["pooled", "head_dropout", "logits"]


def test_upper_part_holds_the_layers_of_its_stages_and_the_network_s_variables(built):
    classifier = built.classifier
    own = {id(variable) for variable in classifier.network.weights}

    for cut in range(1, built.spec.num_stages + 1):
        upper = classifier.upper(cut)

        above = {layer.name for stage in classifier.layers[cut:] for layer in stage}
        # The layer that ends in the cut stays below; after pooling, pooling does.
        below = {"pooled"} if cut == built.spec.num_stages else set()
        inputs = {layer.name for layer in upper.layers if isinstance(layer, keras.layers.InputLayer)}
        assert {layer.name for layer in upper.layers} - inputs == above - below
        assert {id(variable) for variable in upper.weights} <= own


def test_at_least_three_stages_have_weights(built):
    *stages, head = built.classifier.stages

    assert len(stages) == built.spec.num_stages
    assert sum(stage.num_parameters > 0 for stage in stages) >= 3
    assert head.num_parameters == (built.spec.feature_dim + 1) * NUM_CLASSES


def test_stages_count_every_parameter(built):
    counted = sum(stage.num_parameters for stage in built.classifier.stages)

    assert counted == built.classifier.network.count_params()


def test_layer_names_are_the_same_in_every_build(built):
    image = keras.Input((built.spec.min_size_px, built.spec.min_size_px, 3))
    again = built.spec.build(input_tensor=built.spec.preprocess(image))
    name_layers(again)

    names = [layer.name for stage in split_stages(again, built.spec.stage_ends) for layer in stage]
    first = [layer.name for stage in built.classifier.layers[:-1] for layer in stage]
    assert names[1:] == first[1:]  # without the input, which is named by whoever makes it


def test_weights_are_in_the_order_of_the_published_file(built):
    """A published file is matched by order, so the preprocessing in front must not change it."""
    if built.spec.name in APPLICATIONS:
        plain = keras_builder(built.spec)(include_top=False, weights=None)
    else:
        plain = built.spec.build(input_tensor=keras.Input((built.spec.min_size_px, built.spec.min_size_px, 3)))

    body = [layer for layer in built.classifier.network.layers if layer.name != "logits"]
    assert layer_shapes(body) == layer_shapes(plain.layers)


def test_weights_are_in_the_same_order_after_saving(built):
    network = built.classifier.network

    again = keras.Model.from_config(network.get_config())

    assert [layer.name for layer in again.layers if layer.weights] == [
        layer.name for layer in network.layers if layer.weights
    ]


def test_every_stage_end_is_a_cut_that_changes_no_bit(built, pixels):
    classifier, images = built.classifier, pixels(built.spec.min_size_px)
    whole = np.asarray(classifier.network(images))

    for cut in range(1, built.spec.num_stages + 1):
        features = entering(classifier, cut, images)

        assert tuple(features.shape[1:]) == classifier.input_shape(cut)
        np.testing.assert_array_equal(classifier.upper(cut)(features), whole)


def test_random_start_tells_pictures_apart(built, pixels):
    """Otherwise none of the comparisons above could fail."""
    features = np.asarray(entering(built.classifier, built.spec.num_stages, pixels(built.spec.min_size_px)))

    assert np.isfinite(features).all()
    assert not np.array_equal(features[0], features[1])


def test_feature_map_is_as_wide_as_the_row_says(built):
    assert built.classifier.input_shape(built.spec.num_stages) == (built.spec.feature_dim,)


def test_stages_end_where_the_resolution_falls(built):
    """At no more than one end is it as before: after a pooled stem (ResNet), or where the last stage begins with the
    fall (DenseNet, Xception)."""
    sizes = [built.spec.image_size_px]
    backbone = built.spec.build(input_tensor=keras.Input((sizes[0], sizes[0], 3)))
    name_layers(backbone)

    sizes += [backbone.get_layer(end).output.shape[1] for end in built.spec.stage_ends]

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) >= len(sizes) - 1
    assert backbone.output.shape[1] == sizes[-1] <= built.spec.image_size_px / 29


@pytest.mark.parametrize(
    ("end", "following"),
    [("add_2", "block4_sepconv1_act"), ("add_3", "block5_sepconv1_act"), ("add_12", "block14_sepconv1")],
)
def test_xception_stages_end_before_their_blocks(end, following):
    """Keras gives these sums no name of their own."""
    network = build(BACKBONES["xception"]).network

    assert end in BACKBONES["xception"].stage_ends
    assert network.get_layer(following).input is network.get_layer(end).output


def test_batch_norm_is_there_where_the_row_says_so(built):
    found = any(isinstance(layer, keras.layers.BatchNormalization) for layer in built.classifier.network.layers)

    assert found == built.spec.has_batch_norm


def test_weights_have_paths_of_their_own(built):
    paths = [weight.path for stage in built.classifier.stages for weight in stage.weights]

    assert len(set(paths)) == len(paths)
    assert set(paths) == set(built.classifier.weights())
    assert len(paths) == len(built.classifier.network.weights)


def test_smallest_size_is_the_one_that_keras_states(spec):
    if spec.name not in APPLICATIONS:
        assert spec.min_size_px == 2**5  # one place after five halvings
        return

    too_small = (spec.min_size_px - 1, spec.min_size_px - 1, 3)
    with pytest.raises(ValueError, match=f"at least {spec.min_size_px}x{spec.min_size_px}"):
        keras_builder(spec)(include_top=False, weights=None, input_shape=too_small)


# Preprocessing


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_preprocessing_is_what_the_weights_were_trained_with(spec, precision, pixels):
    images = pixels(32, count=4)
    if spec.name in APPLICATIONS:
        wanted = APPLICATIONS[spec.name].preprocess_input(images.copy())
    else:
        wanted = (images - 127) / 128
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        image = keras.Input((32, 32, 3), dtype="float32")
        model = keras.Model(image, spec.preprocess(image))
        found = np.asarray(model(images))
    finally:
        keras.config.set_dtype_policy(before)

    assert found.dtype == np.float32
    # Rounding of float32: numbers reach 255 before the mean is taken off.
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-5)


def test_network_takes_pixels_in_float32_under_mixed_precision():
    """What float16 takes from a pixel shows, because the mean is removed before."""
    classifier = build(BACKBONES["vgg16"], precision="mixed_float16")
    images = np.random.default_rng(0).uniform(100, 130, (2, 32, 32, 3)).astype("float32")

    exact, coarse = classifier.network(images), classifier.network(images.astype(np.float16).astype("float32"))

    assert not np.array_equal(exact, coarse)


# Saved models

WITHOUT_TRANSFERKIT = """
import sys
sys.modules["transferkit"] = None  # any import of it fails
import keras, numpy
folder, *names = sys.argv[1:]
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    numpy.save(f"{folder}/{name}.out.npy", model(numpy.load(f"{folder}/{name}.in.npy")))
"""


def test_saved_model_needs_keras_alone_and_gives_the_same(tmp_path, pixels):
    """VGG16 also mirrors the channels, which no Keras layer does; EfficientNet-Lite0 is built by transferkit."""
    names, given = ("vgg16", "efficientnet_lite0"), {}
    for name in names:
        images = pixels(BACKBONES[name].min_size_px)
        model = probability_model(build(BACKBONES[name]).network)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.in.npy", images)
        given[name] = np.asarray(model(images))

    subprocess.run([sys.executable, "-c", WITHOUT_TRANSFERKIT, str(tmp_path), *names], check=True, capture_output=True)

    for name in names:
        # The same operations on the same machine; another process may share its work out otherwise.
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.out.npy"), given[name], rtol=1e-5)
        assert given[name].std() > 0
