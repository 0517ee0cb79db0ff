"""A backbone so small that several runs take seconds."""

import pytest

from transferkit.backbones.preprocess import minus_one_to_one
from transferkit.backbones.spec import BackboneSpec
from transferkit.backbones.table import BACKBONES


def _build(*, input_tensor):
    import keras
    from keras import layers

    x = layers.Conv2D(4, 3, 4, activation="relu", name="first")(input_tensor)
    x = layers.Conv2D(8, 3, 2, activation="relu", name="second")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor)[0], x)


@pytest.fixture(scope="module", autouse=True)
def toy_backbone():
    """A row `toy` in the table of backbones."""
    row = BackboneSpec(
        name="toy",
        build=_build,
        preprocess=minus_one_to_one,
        image_size_px=32,
        min_size_px=16,
        feature_dim=8,
        stage_ends=("first", "second"),
        imagenet=lambda backbone: None,
        licence="none",
        source="made for the tests",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "toy", row)
        yield
