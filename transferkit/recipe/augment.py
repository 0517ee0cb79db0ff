"""Random changes of training images. One class per augmentation; the layers behind them are in `model.augment`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from transferkit.recipe.spec import Choice, choice_of

Fraction = Annotated[float, Field(gt=0, le=1)]


class Flip(Choice):
    """Mirror half of the images; `both` draws for each axis on its own."""

    kind: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical", "both"] = "horizontal"


class Rotate(Choice):
    """Turn by up to `degrees` either way."""

    kind: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0, le=180)]


class Translate(Choice):
    """Shift by up to `amount` of the height and of the width, either way."""

    kind: Literal["translate"] = "translate"
    amount: Fraction


class Zoom(Choice):
    """Zoom in or out by up to `amount`."""

    kind: Literal["zoom"] = "zoom"
    amount: Annotated[float, Field(gt=0, lt=1)]


class RandomCrop(Choice):
    """Cut out a random place of pictures that are prepared larger; without augmentation their middle is seen."""

    kind: Literal["random_crop"] = "random_crop"
    margin: Fraction = Field(0.14, description="How much larger, as a share of the side; 0.14 is 256 for 224 pixels.")


class CropResize(Choice):
    """Cut out a random part and scale it to the full size, as ImageNet models are trained."""

    kind: Literal["crop_resize"] = "crop_resize"
    min_area: Annotated[float, Field(gt=0, lt=1, description="Smallest share of the image that is kept.")]
    max_aspect: Annotated[float, Field(ge=1, description="Largest side ratio of the part, either way.")] = 4 / 3


class Brightness(Choice):
    """Add up to `amount` of the value range, either way."""

    kind: Literal["brightness"] = "brightness"
    amount: Fraction


class Contrast(Choice):
    """Scale the distance from the mean by 1 ± `amount`."""

    kind: Literal["contrast"] = "contrast"
    amount: Fraction


class Saturation(Choice):
    """Scale the colourfulness: 0 changes nothing, 1 reaches from grey to doubled."""

    kind: Literal["saturation"] = "saturation"
    amount: Fraction


class Hue(Choice):
    """Turn the colour wheel by up to `degrees` either way."""

    kind: Literal["hue"] = "hue"
    degrees: Annotated[float, Field(gt=0, le=180)]


class ColorJitter(Choice):
    """Brightness, contrast, saturation and hue together; 0 leaves one out."""

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.2
    hue_degrees: Annotated[float, Field(ge=0, le=180)] = 10.0


class Noise(Choice):
    """Gaussian noise on every pixel."""

    kind: Literal["noise"] = "noise"
    levels: PositiveFloat = Field(description="Standard deviation in grey levels, of 255.")


class Blur(Choice):
    """Gaussian blur."""

    kind: Literal["blur"] = "blur"
    max_sigma_px: PositiveFloat
    probability: Fraction = 0.5


class Elastic(Choice):
    """Bend the image smoothly, as handwriting varies."""

    kind: Literal["elastic"] = "elastic"
    strength_px: PositiveFloat = Field(description="Typical displacement at the control points.")
    smoothness_px: PositiveFloat = Field(10.0, description="Distance between control points.")


class Shear(Choice):
    """Slant by up to `degrees` along both axes."""

    kind: Literal["shear"] = "shear"
    degrees: Annotated[float, Field(gt=0, lt=45)]


class Perspective(Choice):
    """Move the corners by up to `amount` of the sides; from a quarter on they could change places."""

    kind: Literal["perspective"] = "perspective"
    amount: Annotated[float, Field(gt=0, lt=0.25)]
    probability: Fraction = 1.0


class Erase(Choice):
    """Blank out a random rectangle."""

    kind: Literal["erase"] = "erase"
    max_area: Fraction = Field(0.2, description="Largest share of the image that is blanked.")
    probability: Fraction = 0.5


class RandAugment(Choice):
    """`operations` random ones of a fixed list, at one strength. https://arxiv.org/abs/1909.13719"""

    kind: Literal["rand_augment"] = "rand_augment"
    operations: PositiveInt = 2
    strength: Fraction = 0.3


class MixUp(Choice):
    """Blend pairs of images and their labels. https://arxiv.org/abs/1710.09412"""

    kind: Literal["mixup"] = "mixup"
    alpha: PositiveFloat = 0.2


class CutMix(Choice):
    """Paste a rectangle of another image; labels mix by area. https://arxiv.org/abs/1905.04899"""

    kind: Literal["cutmix"] = "cutmix"
    alpha: PositiveFloat = 1.0


AUGMENTATION_SPECS: tuple[type[Choice], ...] = (
    RandomCrop, Flip, Rotate, Translate, Zoom, CropResize, Brightness, Contrast, Saturation, Hue, ColorJitter,
    Noise, Blur, Elastic, Shear, Perspective, Erase, RandAugment, MixUp, CutMix,
)  # fmt: skip
Augmentation = choice_of(*AUGMENTATION_SPECS, what="an augmentation")
