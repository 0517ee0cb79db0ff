"""What tests of weights files share."""

import numpy as np
import pytest


@pytest.fixture
def toy():
    """`toy(…)`: a small backbone with every kind of layer that has weights, and two branches.

    Its layers have automatic names unless they are fixed; its weights are the random start unless there is a seed.
    """
    import keras
    from keras import layers

    from transferkit.backbones.stages import name_layers

    def build(*, width=4, extra=False, fixed_names=True, head=False, seed=None):
        image = keras.Input((16, 16, 3))
        x = layers.Rescaling(1 / 255)(image)
        x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        left = layers.DepthwiseConv2D(3, padding="same")(x)
        right = layers.SeparableConv2D(4, 3, padding="same")(x)
        x = layers.Add()([layers.Conv2D(4, 1)(right), left])
        x = layers.Conv2D(width, 3, name="last")(x)
        if extra:
            x = layers.Conv2D(width, 3, name="one_more")(x)
        if head:  # as people build classifiers
            x = layers.Dense(5, activation="relu")(layers.GlobalAveragePooling2D()(x))
            x = layers.Dense(3)(layers.Dropout(0.5)(layers.BatchNormalization()(x)))
        model = keras.Model(image, x, name="toy")
        if fixed_names:
            name_layers(model)
        if seed is not None:  # the statistics of batch norm are numbers of their own too
            draw = np.random.default_rng(seed)
            model.set_weights([draw.uniform(0.1, 1.0, one.shape).astype("float32") for one in model.get_weights()])
        return model

    return build


@pytest.fixture
def save_as_keras_1():
    """`save_as_keras_1(model, path)`: weights as keras.applications publishes them, by layer and weight names."""
    import h5py

    def save(model, path, *, numbered_attributes=False):
        with h5py.File(path, "w") as file:
            names = [layer.name.encode() for layer in model.layers]
            if numbered_attributes:
                file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
            else:
                file.attrs["layer_names"] = names
            file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.1.6"
            for layer in model.layers:
                group = file.create_group(layer.name)
                weight_names = [f"{layer.name}_1/{variable.name}:0" for variable in layer.weights]
                group.attrs["weight_names"] = [name.encode() for name in weight_names]
                for name, value in zip(weight_names, layer.get_weights(), strict=True):
                    group[name] = value

    return save


@pytest.fixture
def save(save_as_keras_1):
    """`save(model, path)` in the format that the file's name says."""

    def save_by_name(model, path):
        if path.name == "weights_only.h5":
            save_as_keras_1(model, path)
        elif path.name.endswith(".weights.h5"):
            model.save_weights(path)
        else:
            model.save(path)

    return save_by_name


@pytest.fixture
def assert_equal_weights():
    def check(found, wanted):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)

    return check
