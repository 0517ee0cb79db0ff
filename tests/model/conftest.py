"""What tests of the model share."""

import numpy as np
import pytest


@pytest.fixture
def augment():
    """What a training step does with images, and labels if there are any; gives NumPy arrays."""
    import keras

    from transferkit.model.augment import augment_batch, build_augmentations
    from transferkit.model.draws import Draws

    def run(specs, images, labels=None, *, seed=0, stream="test", step=0):
        augmentations = build_augmentations(specs if isinstance(specs, list) else [specs], seed=seed)
        draws = Draws(augmentations, seed=seed, stream=stream)
        labels = np.ones((len(images), 1), np.float32) if labels is None else labels
        images, labels = (keras.ops.convert_to_tensor(np.asarray(one, np.float32)) for one in (images, labels))
        with draws.at(step):
            changed, mixed = augment_batch(augmentations, images, labels)
        return np.asarray(changed), np.asarray(mixed)

    return run


@pytest.fixture
def assert_spread():
    """Numbers that were drawn evenly from `low` to `high` lie within, and reach near both ends."""

    def check(values, low, high):
        room = 0.01 * (high - low)  # pixels are interpolated
        assert values.min() >= low - room
        assert values.max() <= high + room
        reach = 0.1 * (high - low)
        assert values.min() <= low + reach
        assert values.max() >= high - reach

    return check
