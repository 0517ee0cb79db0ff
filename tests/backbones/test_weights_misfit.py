import h5py
import keras
import numpy as np
import pytest
from keras import layers

from transferkit.backbones.weights import load_file
from transferkit.errors import WeightsError

# Saving a whole model as .h5 works, and Keras warns that it is the old way.
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

# Keras 3's weights, those of Keras 1 and 2, and whole models, old and new.
FORMATS = ("toy.weights.h5", "weights_only.h5", "whole_model.h5", "toy.keras")

MISFITS = {
    "another layer's width": ({"width": 5}, ["last 3×3×4×4 4 in the backbone, last 3×3×4×5 5 in the file"]),
    "a layer too many": ({"extra": True}, ["nothing more in the backbone, one_more 3×3×4×4 4 in the file"]),
}


@pytest.fixture
def assert_refused(assert_equal_weights):
    """Nothing is loaded, and the error names the file and what else is to be in it."""

    def check(path, backbone, *texts):
        before = backbone.get_weights()

        with pytest.raises(WeightsError) as caught:
            load_file(backbone, path)

        assert_equal_weights(backbone.get_weights(), before)
        message = str(caught.value)
        assert str(path) in message
        assert len(message.splitlines()) <= 5
        for text in texts:
            assert text in message

    return check


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.endswith(".weights.h5")])
@pytest.mark.parametrize("misfit", MISFITS)
def test_load_file_of_another_network_names_the_layer_that_differs(toy, save, assert_refused, misfit, name, tmp_path):
    changes, texts = MISFITS[misfit]
    save(toy(**changes, seed=0), tmp_path / name)

    assert_refused(tmp_path / name, toy(), *texts, "toy", "Layers that differ: 1")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 5}, "last 3×3×4×4 4 in the backbone, conv2d_2 3×3×4×5 5 in the file"),
        ({"extra": True}, "nothing more in the backbone, conv2d_3 3×3×4×4 4 in the file"),
    ],
)
def test_load_file_of_another_network_names_keras_3_groups(toy, assert_refused, changes, text, tmp_path):
    toy(**changes, seed=0).save_weights(tmp_path / "toy.weights.h5")

    assert_refused(tmp_path / "toy.weights.h5", toy(), text)


@pytest.mark.parametrize("name", FORMATS)
def test_load_file_with_a_layer_missing_is_refused(toy, save, assert_refused, name, tmp_path):
    save(toy(seed=0), tmp_path / name)

    assert_refused(tmp_path / name, toy(extra=True), "one_more 3×3×4×4 4 in the backbone, nothing more in the file")


def test_load_file_of_a_deeper_backbone_is_refused(assert_refused, tmp_path):
    """VGG19 begins as VGG16 does."""
    deeper = keras.applications.VGG19(weights=None, include_top=False, input_shape=(32, 32, 3))
    deeper.save_weights(tmp_path / "vgg19.weights.h5")
    backbone = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))

    assert_refused(tmp_path / "vgg19.weights.h5", backbone, "vgg16", "block4_conv1 3×3×256×512 512 in the backbone")


@pytest.mark.parametrize("name", FORMATS)
def test_load_file_cut_short_is_refused(toy, save, assert_refused, name, tmp_path):
    path = tmp_path / name
    save(toy(seed=0), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert_refused(path, toy(), "cannot be read as a weights file")


@pytest.mark.parametrize("name", ["a.weights.h5", "a.h5", "a.keras"])
@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>" * 100])
def test_load_file_that_holds_something_else_is_refused(toy, assert_refused, content, name, tmp_path):
    (tmp_path / name).write_bytes(content)

    assert_refused(tmp_path / name, toy(), "cannot be read as a weights file")


def test_load_file_of_other_hdf5_data_is_refused(toy, assert_refused, tmp_path):
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["table"] = np.arange(5)

    assert_refused(tmp_path / "table.h5", toy(), "is an HDF5 file, but not one with the weights of a Keras network")


def test_load_file_with_text_for_numbers_is_refused(toy, save_as_keras_1, assert_refused, tmp_path):
    path = tmp_path / "text.h5"
    save_as_keras_1(toy(), path)
    with h5py.File(path, "a") as file:
        group = file["last"]
        del group["last_1/bias:0"]
        group["last_1/bias:0"] = np.array([b"a", b"b", b"c", b"d"])

    assert_refused(path, toy(), "cannot be read as a weights file")


@pytest.mark.parametrize("link", [h5py.ExternalLink("elsewhere.h5", "/bias"), h5py.SoftLink("/elsewhere")])
def test_load_file_does_not_follow_links(toy, save_as_keras_1, assert_refused, link, tmp_path):
    path = tmp_path / "links.h5"
    save_as_keras_1(toy(), path)
    with h5py.File(tmp_path / "elsewhere.h5", "w") as file:
        file["bias"] = np.zeros(4)
    with h5py.File(path, "a") as file:
        del file["last"]["last_1/bias:0"]
        file["elsewhere"] = np.zeros(4)
        file["last"]["last_1/bias:0"] = link

    assert_refused(path, toy(), "does not hold last_1/bias:0 itself")


def test_load_file_does_not_read_a_dataset_kept_in_another_file(toy, save_as_keras_1, assert_refused, tmp_path):
    path = tmp_path / "outside.h5"
    save_as_keras_1(toy(), path)
    (tmp_path / "raw").write_bytes(bytes(16))
    with h5py.File(path, "a") as file:
        del file["last"]["last_1/bias:0"]
        outside = [(str(tmp_path / "raw"), 0, 16)]
        file["last"].create_dataset("last_1/bias:0", (4,), "float32", external=outside)

    assert_refused(path, toy(), "does not hold last_1/bias:0 itself")


def test_load_file_runs_no_code_of_a_saved_model(toy, assert_refused, tmp_path):
    mark = tmp_path / "executed"
    image = keras.Input((16, 16, 3))
    run = layers.Lambda(lambda x, path=str(mark): (open(path, "w").close(), x)[1])
    keras.Model(image, run(image)).save(tmp_path / "code.keras")
    mark.unlink(missing_ok=True)

    assert_refused(tmp_path / "code.keras", toy(), "cannot be read as a weights file", "Lambda")

    assert not mark.exists()
