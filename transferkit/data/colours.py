"""From whatever a picture file holds to plain colours or grey, of 8 bits."""

import math

import numpy as np
from PIL import Image, PpmImagePlugin, TiffImagePlugin


def to_colours(image: Image.Image) -> Image.Image:
    """In RGB, or still in grey, which becomes RGB once it is small: a quarter of the memory, and the same pixels."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bits(image)
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if not image.has_transparency_data:
        return image.convert("L" if image.mode == "1" else "RGB")
    if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but LA
        image = image.convert("LA")
    if image.mode != "RGBA":  # `convert` would copy
        image = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(image, mask=image)
    return on_white


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits a pixel as 8-bit greyscale; by strips, for double precision of it all is large."""
    width, height = image.size
    strip_height = max(1, 2**20 // width)
    strips = [(0, top, width, min(top + strip_height, height)) for top in range(0, height, strip_height)]
    grey = np.empty((height, width), np.uint8)
    with np.errstate(invalid="ignore"):  # not-a-number values of float pictures
        low, high = _grey_range(image, strips)
        scale = 255 / (high - low) if high > low else 0.0
        for strip in strips:
            values = np.nan_to_num(np.asarray(image.crop(strip), np.float64), nan=low, posinf=high, neginf=low)
            grey[strip[1] : strip[3]] = np.rint((values - low) * scale).clip(0, 255)
    return Image.fromarray(grey)


def _grey_range(image: Image.Image, strips: list[tuple[int, int, int, int]]) -> tuple[float, float]:
    """The values that become black and white."""
    if image.mode.startswith("I;16"):
        is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
        return 0, 4095 if is_tiff and image.tag_v2[TiffImagePlugin.BITSPERSAMPLE] == (12,) else 65535
    if image.mode == "I" and isinstance(image, PpmImagePlugin.PpmImageFile):
        return 0, 65535  # Pillow has scaled the file's own highest value to this
    low, high = math.inf, -math.inf
    for strip in strips:
        values = np.asarray(image.crop(strip), np.float64)
        finite = np.isfinite(values)
        low = min(low, values.min(where=finite, initial=math.inf))
        high = max(high, values.max(where=finite, initial=-math.inf))
    return (0, 1) if image.mode == "F" and low >= 0 and high <= 1 else (low, high)  # also where no value is finite
