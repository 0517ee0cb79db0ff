"""The backbone, its weights, and the head on top."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from transferkit.recipe.spec import FromList, Spec


class HeadSpec(Spec):
    """Pooling, hidden layers, dropout and the dense layer, trained from scratch."""

    pooling: Literal["avg", "max", "concat"] = Field("avg", description="`concat` puts avg and max side by side.")
    hidden: Annotated[tuple[Annotated[PositiveInt, Field(le=65_536)], ...], FromList] = Field(
        (), description="Widths of the hidden layers."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    weight_decay: NonNegativeFloat = Field(0.0, description="L2 penalty on the head's kernels, added to the loss.")


class ModelSpec(Spec):
    """What is fine-tuned."""

    backbone: str = "efficientnet_lite0"
    weights: str = Field("imagenet", min_length=1, description="`imagenet`, `none`, or the path of a weights file.")
    head: HeadSpec = HeadSpec()
