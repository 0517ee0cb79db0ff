"""Fixed value mappings, from RGB pixels 0–255 to what a backbone's weights were trained with.

They are built-in Keras layers in float32, also under mixed precision, so that a saved model needs no code of ours.
"""

from typing import Any


def caffe_bgr(pixels: Any) -> Any:
    """RGB to BGR, ImageNet's mean removed, no scaling (the original VGG and ResNet)."""
    from keras import layers, ops

    bgr = ops.flip(pixels, axis=-1)
    return layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], dtype="float32", name="preprocess")(bgr)


def mean_and_deviation(pixels: Any) -> Any:
    """Scaled to 0–1, ImageNet's mean removed, divided by its standard deviation."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale = [1 / (255 * part) for part in deviation]
    offset = [-middle / part for middle, part in zip(mean, deviation, strict=True)]
    return _rescale(pixels, scale, offset)


def minus_one_to_one(pixels: Any) -> Any:
    """Scaled to −1 … 1."""
    return _rescale(pixels, 1 / 127.5, -1.0)


def centred_on_127(pixels: Any) -> Any:
    """`(pixels − 127) / 128`, as the EfficientNet-Lite models were trained."""
    return _rescale(pixels, 1 / 128, -127 / 128)


def _rescale(pixels: Any, scale: float | list[float], offset: float | list[float]) -> Any:
    from keras import layers

    return layers.Rescaling(scale, offset=offset, dtype="float32", name="preprocess")(pixels)
