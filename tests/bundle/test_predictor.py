"""What a predictor takes: paths of files, or pictures as arrays."""

from pathlib import Path

import numpy as np
import pytest

from transferkit.bundle.predictor import Predictor
from transferkit.errors import DataError
from transferkit.recipe.data import DataSpec
from transferkit.recipe.source import FolderSource

pytestmark = pytest.mark.model

SPEC = DataSpec(source=FolderSource(path="photos"), image_size=40)


@pytest.fixture
def predictor():
    """The brighter a picture is, the likelier is "light"."""
    import keras

    pixels = keras.Input((40, 40, 3))
    light = keras.ops.mean(pixels, axis=(1, 2, 3))[:, None] / 255
    return Predictor(keras.Model(pixels, keras.ops.concatenate([light, 1 - light], axis=1)), ("light", "dark"), SPEC)


def lightness(found):
    return [one.probabilities["light"] for one in found]


def test_arrays_give_what_their_files_give(predictor, picture_folder):
    from PIL import Image

    files = sorted(picture_folder.rglob("*.png"))
    arrays = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    expected = lightness(predictor.predict(files))

    assert len(set(expected)) > 3
    assert lightness(predictor.predict(arrays)) == expected
    assert lightness(predictor.predict(list(arrays.astype("float32")))) == expected
    assert lightness(predictor.predict(arrays[3])) == expected[3:4]
    assert [one.path for one in predictor.predict(arrays[:3])] == ["0", "1", "2"]
    assert lightness(predictor.predict(np.array([str(file) for file in files]))) == expected


def test_pictures_of_pillow_are_taken_alone_and_in_lists_and_bad_ones_are_told(predictor, picture_folder):
    from PIL import Image

    files = sorted(picture_folder.rglob("*.png"))[:2]
    expected = lightness(predictor.predict(files))
    broken = picture_folder / "broken.png"
    broken.write_bytes(files[0].read_bytes()[:-60])

    alone = predictor.predict(Image.open(files[0]))
    *several, bad = predictor.predict([*map(Image.open, files), Image.open(broken)])

    assert lightness(alone) == expected[:1]
    assert lightness(several) == expected
    assert bad.error.startswith("cannot be read")


def test_picture_of_no_numbers_gives_an_entry_with_its_error(predictor):
    images = np.full((2, 40, 40, 3), 100.0)
    images[0, 0, 0, 0] = np.nan

    bad, good = predictor.predict(images)

    assert "no numbers" in bad.error
    assert good.error is None


def test_model_that_gives_no_numbers_is_an_error_of_the_picture():
    import keras

    pixels = keras.Input((40, 40, 3))
    light = keras.ops.mean(pixels, axis=(1, 2, 3))[:, None]
    model = keras.Model(pixels, keras.ops.concatenate([light / light, 1 - light], axis=1))

    good, bad = Predictor(model, ("light", "dark"), SPEC).predict(
        np.stack([np.full((40, 40, 3), 9), np.zeros((40, 40, 3))])
    )

    assert good.error is None
    assert (bad.error, bad.class_name, bad.probabilities) == ("the model gives no numbers for it", None, {})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "predict takes paths of picture files, or pixels .* was given: int"),
        ([Path("a.png"), np.zeros((4, 4, 3))], "was given: list of .* and ndarray"),
        ([b"bytes"], "was given: list of bytes"),
        (np.zeros((2, 8, 8, 5)), "has the shape"),
        (np.zeros(5), "has the shape"),
        (np.full((2, 8, 8, 3), 0.5), "Multiply by 255"),
    ],
    ids=["number", "mixed", "bytes", "channels", "row", "up to one"],
)
def test_what_cannot_be_predicted_is_told(predictor, given, says):
    with pytest.raises(DataError, match=says):
        predictor.predict(given)
