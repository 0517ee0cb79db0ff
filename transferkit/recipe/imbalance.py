"""What is done about classes with few pictures, in training alone: elsewhere every picture counts the same."""

from typing import Annotated, Literal

from pydantic import Field

from transferkit.recipe.spec import Choice, choice_of


class NoBalance(Choice):
    """Every picture counts the same."""

    kind: Literal["none"] = "none"


class ClassWeight(Choice):
    """A class's pictures weigh in inverse proportion to their number."""

    kind: Literal["class_weight"] = "class_weight"


class Oversample(Choice):
    """Pictures of smaller classes come several times in each epoch, until all classes have as many as the largest."""

    kind: Literal["oversample"] = "oversample"


class EffectiveNumber(Choice):
    """Weights by the effective number of pictures. Source: Cui et al. 2019, https://arxiv.org/abs/1901.05555"""

    kind: Literal["effective_number"] = "effective_number"
    beta: Annotated[float, Field(gt=0, lt=1, description="Nearer to 1: nearer to class_weight.")] = 0.999


IMBALANCE_SPECS = (NoBalance, ClassWeight, Oversample, EffectiveNumber)
Imbalance = choice_of(*IMBALANCE_SPECS, what="a way to balance classes")
