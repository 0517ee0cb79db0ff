"""What training makes small."""

from typing import Annotated, Literal

from pydantic import Field

from transferkit.recipe.spec import Choice, choice_of

LabelSmoothing = Annotated[float, Field(ge=0, lt=1)]


class CrossEntropy(Choice):
    """Cross-entropy of the softmax."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: LabelSmoothing = 0.0


class Focal(Choice):
    """Cross-entropy that counts pictures less the surer they are. Source: https://arxiv.org/abs/1708.02002"""

    kind: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(gt=0, le=10, description="0 would be cross-entropy.")] = 2.0
    label_smoothing: LabelSmoothing = 0.0


class BinaryCrossEntropy(Choice):
    """Each class on its own, for pictures that have any number of classes."""

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    label_smoothing: LabelSmoothing = 0.0


LOSS_SPECS = (CrossEntropy, Focal, BinaryCrossEntropy)
Loss = choice_of(*LOSS_SPECS, what="a loss")
