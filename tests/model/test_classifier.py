import random

import keras
import numpy as np
import pytest
from keras import layers

from transferkit.backbones.preprocess import minus_one_to_one
from transferkit.backbones.spec import BackboneSpec
from transferkit.errors import RuntimeSetupError, WeightsError
from transferkit.model.classifier import build_classifier, probability_model
from transferkit.recipe.model import HeadSpec, ModelSpec

pytestmark = pytest.mark.model

WIDTH = 6


def build_toy(*, input_tensor):
    x = input_tensor
    for stage in (1, 2, 3):
        x = layers.Conv2D(WIDTH, 3, padding="same", use_bias=False, name=f"stage{stage}_conv")(x)
        x = layers.ReLU(name=f"stage{stage}_relu")(layers.BatchNormalization(name=f"stage{stage}_bn")(x))
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
    return keras.Model(keras.utils.get_source_inputs(x), x, name="toy")


TOY = BackboneSpec(
    name="toy",
    build=build_toy,
    preprocess=minus_one_to_one,
    image_size_px=32,
    min_size_px=8,
    feature_dim=WIDTH,
    stage_ends=("stage1_pool", "stage2_pool", "stage3_pool"),
    imagenet=lambda backbone: None,
    licence="",
    source="",
)


def build(*, weights="none", seed=0, precision="float32", num_classes=3, load=True, **head):
    model = ModelSpec(backbone="toy", weights=weights, head=HeadSpec(**head))
    return build_classifier(
        model, TOY, image_size_px=32, num_classes=num_classes, seed=seed, precision=precision, load=load
    )


@pytest.fixture
def images():
    return np.random.default_rng(3).uniform(0, 255, (4, 32, 32, 3)).astype("float32")


def entering(classifier, cut, images):
    """What enters stage `cut`: the images through one stage after the other."""
    for network in classifier.stage_networks(cut):
        images = network(images)
    return images


def head_names(classifier):
    return [layer.name for layer in classifier.layers[-1]]


# The head


@pytest.mark.parametrize(("pooling", "width"), [("avg", WIDTH), ("max", WIDTH), ("concat", 2 * WIDTH)])
def test_head_pools_to_a_width(pooling, width):
    classifier = build(pooling=pooling)

    assert classifier.input_shape(3) == (width,)
    assert classifier.weights()["logits/kernel"].shape == (width, 3)


def test_head_pools_as_it_says(images):
    feature_map = np.asarray(keras.Model(*_ends(build(), "stage3_pool"))(images))
    average, maximum = feature_map.mean((1, 2)), feature_map.max((1, 2))

    # Sums in another order differ in the last bits.
    np.testing.assert_allclose(entering(build(pooling="avg"), 3, images), average, rtol=1e-5)
    np.testing.assert_array_equal(entering(build(pooling="max"), 3, images), maximum)
    both = np.concatenate([average, maximum], axis=1)
    np.testing.assert_allclose(entering(build(pooling="concat"), 3, images), both, rtol=1e-5)


def _ends(classifier, name):
    return classifier.network.input, classifier.network.get_layer(name).output


def test_head_has_hidden_layers_with_dropout_in_between():
    classifier = build(hidden=(8, 5), dropout=0.3)

    names = ["pooled", "head_hidden_1", "head_dropout_1", "head_hidden_2", "head_dropout_2", "logits"]
    assert head_names(classifier) == names
    assert classifier.weights()["head_hidden_2/kernel"].shape == (8, 5)
    assert classifier.network.get_layer("head_hidden_1").activation is keras.activations.relu
    assert classifier.network.get_layer("head_dropout_2").rate == 0.3


def test_head_without_hidden_layers_drops_pooled_features():
    assert head_names(build(dropout=0.4)) == ["pooled", "head_dropout", "logits"]


def test_head_without_dropout_has_no_such_layer():
    assert head_names(build(dropout=0.0)) == ["pooled", "logits"]


def test_weight_decay_is_a_penalty_on_the_heads_kernels_alone():
    classifier = build(hidden=(8,), weight_decay=0.01)

    kernels = [classifier.weights()[path] for path in ("head_hidden_1/kernel", "logits/kernel")]
    wanted = sum(0.01 * np.square(kernel).sum() for kernel in kernels)
    np.testing.assert_allclose(sum(classifier.network.losses), wanted, rtol=1e-5)  # float32 sums


def test_weight_decay_reaches_the_loss_of_the_upper_part():
    classifier = build(weight_decay=0.01)

    assert len(classifier.upper(3).losses) == 1


def test_no_weight_decay_is_no_penalty():
    assert build(hidden=(8,)).network.losses == []


# Start


def test_same_seed_gives_the_same_weights_whatever_was_built_before():
    first = build(seed=5, hidden=(4,))
    build(seed=1)
    random.seed(99)

    second = build(seed=5, hidden=(4,))

    for path, variable in first.weights().items():
        np.testing.assert_array_equal(variable, second.weights()[path])


def test_other_seed_gives_another_start_of_head_and_backbone():
    first, second = build(seed=5, hidden=(4,)), build(seed=6, hidden=(4,))

    for path, variable in first.weights().items():
        if path.endswith("kernel"):
            assert not np.array_equal(variable, second.weights()[path]), path


def test_hidden_layers_of_one_shape_start_differently():
    weights = build(hidden=(WIDTH, WIDTH)).weights()

    assert not np.array_equal(weights["head_hidden_1/kernel"], weights["head_hidden_2/kernel"])


# Precision


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("float32", "float32"), ("mixed_float16", "float16"), ("mixed_bfloat16", "bfloat16")],
)
def test_backbone_computes_in_the_given_precision_and_logits_in_float32(precision, inside, images):
    network = build(precision=precision, hidden=(4,)).network

    assert network.get_layer("stage2_conv").compute_dtype == inside
    assert network.get_layer("stage2_conv").output.dtype == inside
    assert network.get_layer("head_hidden_1").compute_dtype == inside
    assert network.get_layer("preprocess").output.dtype == "float32"
    assert keras.backend.standardize_dtype(network(images).dtype) == "float32"
    assert {variable.dtype for variable in network.weights} == {"float32"}


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_probabilities_are_float32_and_sum_to_1_under_mixed_precision(precision, images):
    probabilities = np.asarray(probability_model(build(precision=precision).network)(images))

    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


# What stays as it was


@pytest.mark.parametrize("weights", ["none", "missing.keras"])
def test_build_puts_back_policy_and_random_state(weights):
    keras.config.set_dtype_policy("bfloat16")
    random.seed(7)
    np.random.seed(7)
    state, numbers = random.getstate(), np.random.get_state()[1].copy()
    try:
        if weights == "none":
            build(precision="mixed_float16")
        else:
            with pytest.raises(WeightsError):
                build(precision="mixed_float16", weights=weights)

        assert keras.config.dtype_policy().name == "bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert random.getstate() == state
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)


def test_channels_first_is_refused_with_the_way_out():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(RuntimeSetupError, match=r"channels_first.*\n.*channels_last.*keras\.json"):
            build()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_load_false_does_not_look_for_weights():
    assert build(weights="missing.keras", load=False).network.output_shape == (None, 3)


# Stages and parts


def test_stages_hold_every_layer_once():
    classifier = build(hidden=(4,))

    names = [layer.name for stage in classifier.layers for layer in stage]
    assert sorted(names) == sorted(layer.name for layer in classifier.network.layers)
    first = ("image", "preprocess", "stage1_conv", "stage1_bn", "stage1_relu", "stage1_pool")
    assert classifier.stages[0].layers == first


def test_stages_describe_every_variable_once():
    classifier = build(hidden=(4,))

    described = [weight for stage in classifier.stages for weight in stage.weights]
    paths = [weight.path for weight in described]
    assert len(paths) == len(set(paths)) == len(classifier.network.weights)
    assert set(paths) == set(classifier.weights())
    for weight in described:
        assert weight.path == f"{weight.layer}/{weight.path.split('/')[-1]}"
        assert weight.size == np.prod(classifier.weights()[weight.path].shape)


def test_stages_tell_the_roles_of_variables():
    stages = build().stages

    roles = {weight.path: weight.role for stage in stages for weight in stage.weights}
    assert roles["stage1_conv/kernel"] == "kernel"
    assert roles["stage1_bn/gamma"] == "gamma"
    assert roles["stage1_bn/beta"] == "beta"
    assert roles["stage1_bn/moving_mean"] == roles["stage1_bn/moving_variance"] == "statistic"
    assert roles["logits/bias"] == "bias"


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_stages_below_a_cut_and_the_part_above_it_make_the_network(cut, images):
    classifier = build()

    features = entering(classifier, cut, images)

    assert tuple(features.shape[1:]) == classifier.input_shape(cut)
    np.testing.assert_array_equal(classifier.upper(cut)(features), classifier.network(images))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_parts_make_the_network_under_mixed_precision_with_features_kept_in_float32(precision, images):
    classifier = build(precision=precision)

    features = keras.ops.cast(entering(classifier, 2, images), "float32")

    np.testing.assert_array_equal(classifier.upper(2)(features), classifier.network(images))


# The saved model


def test_probability_model_is_the_softmax_of_the_logits(images):
    classifier = build()
    logits = np.asarray(classifier.network(images), np.float64)

    model = probability_model(classifier.network)

    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(images), wanted, rtol=1e-5)  # float32
    assert model.name == "toy"


def test_probability_model_drops_nothing_out(images):
    model = probability_model(build(dropout=0.9).network)

    np.testing.assert_array_equal(model(images), model(images))


def test_probability_model_needs_no_more_than_keras(tmp_path, images):
    model = probability_model(build(pooling="concat", hidden=(4,), weight_decay=0.1).network)
    model.save(tmp_path / "model.keras")

    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)

    np.testing.assert_array_equal(again(images), model(images))
    assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"keras"}
