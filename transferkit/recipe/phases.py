"""Phases: what trains, for how long, at which rates, with which optimizer."""

import re
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from transferkit.recipe.spec import Choice, Spec, choice_of, refusal


class Head(Choice):
    """The head only; the backbone is frozen."""

    kind: Literal["head"] = "head"


class LastStages(Choice):
    """The head and the `count` stages nearest to it."""

    kind: Literal["last_stages"] = "last_stages"
    count: PositiveInt


class FromLayer(Choice):
    """The named layer, all layers after it, and the head."""

    kind: Literal["from_layer"] = "from_layer"
    layer: str


class Pattern(Choice):
    """The head and every layer whose name the regular expression finds."""

    kind: Literal["pattern"] = "pattern"
    regex: str

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str) -> str:
        try:
            re.compile(regex)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        return regex


class Everything(Choice):
    """All stages and the head."""

    kind: Literal["all"] = "all"


class Gradual(Choice):
    """One more stage every `every_epochs` epochs, output side first."""

    kind: Literal["gradual"] = "gradual"
    every_epochs: PositiveInt
    first: Annotated[int, Field(ge=0, description="Stages that train from the start, besides the head.")] = 1


class Bias(Choice):
    """The head, and the biases of every layer, batch norm's beta included. https://arxiv.org/abs/2106.10199"""

    kind: Literal["bias"] = "bias"


class Norm(Choice):
    """The head, and gamma and beta of every batch-norm layer."""

    kind: Literal["norm"] = "norm"


POLICY_SPECS: tuple[type[Choice], ...] = (Head, LastStages, FromLayer, Pattern, Everything, Gradual, Bias, Norm)
Train = choice_of(*POLICY_SPECS, what="a freeze policy")


class Constant(Choice):
    """The peak rate throughout."""

    kind: Literal["constant"] = "constant"


class Cosine(Choice):
    """Half a cosine from the peak to `final` times the peak. https://arxiv.org/abs/1608.03983"""

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Step(Choice):
    """Times `factor` every `every_epochs` epochs."""

    kind: Literal["step"] = "step"
    every_epochs: PositiveInt
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Exponential(Choice):
    """Times `factor` in every epoch, smoothly."""

    kind: Literal["exponential"] = "exponential"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.9


class Plateau(Choice):
    """Times `factor` whenever the monitored value has not become better for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: PositiveInt = 3


RATE_SPECS: tuple[type[Choice], ...] = (Constant, Cosine, Step, Exponential, Plateau)
Rates = choice_of(*RATE_SPECS, what="a schedule")


class OptimizerSpec(Spec):
    """How gradients become updates. Weight decay and clipping are the phase's."""

    name: str


class Adam(OptimizerSpec):
    name: Literal["adam"] = "adam"
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: PositiveFloat = 1e-7


class AdamW(Adam):
    name: Literal["adamw"] = "adamw"


class Nadam(Adam):
    name: Literal["nadam"] = "nadam"


class Sgd(OptimizerSpec):
    name: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False


class RmsProp(OptimizerSpec):
    name: Literal["rmsprop"] = "rmsprop"
    rho: Annotated[float, Field(ge=0, lt=1)] = 0.9
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Lion(OptimizerSpec):
    name: Literal["lion"] = "lion"
    beta_1: Annotated[float, Field(ge=0, le=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, le=1)] = 0.99


OPTIMIZER_SPECS: tuple[type[OptimizerSpec], ...] = (Adam, AdamW, Nadam, Sgd, RmsProp, Lion)
_OPTIMIZER_NAMES = tuple(row.model_fields["name"].default for row in OPTIMIZER_SPECS)


def _by_name(given: object) -> object:
    if isinstance(given, OptimizerSpec):
        return given
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict) or not isinstance(name := given.get("name"), str):
        raise refusal("must be an optimizer's name, or its name and parameters, as in {name: sgd, momentum: 0.9}")
    if name not in _OPTIMIZER_NAMES:
        raise refusal("is not the name of an optimizer", given=name, allowed=_OPTIMIZER_NAMES)
    return given


Optimizer = Annotated[
    Annotated[Adam | AdamW | Nadam | Sgd | RmsProp | Lion, Field(discriminator="name")], BeforeValidator(_by_name)
]

BatchNormMode = Literal["frozen", "affine", "train"]


class EarlyStopping(Spec):
    """End the phase when the monitored value has not become better for `patience` epochs; its best weights stay."""

    patience: PositiveInt = 3


class PhaseSpec(Spec):
    """One stretch of training under one freeze policy and one learning-rate schedule."""

    name: str = Field(min_length=1, description="Shown in logs, plots and the history.")
    train: Train
    # The rate of every step is kept in a table.
    epochs: Annotated[PositiveInt, Field(le=100_000)]
    learning_rate: PositiveFloat = Field(description="Peak rate, reached when the ramp ends.")
    schedule: Rates = Constant()
    ramp_epochs: NonNegativeFloat = Field(0.0, description="Rise from near 0 to the peak; may be fractional.")
    optimizer: Optimizer = AdamW()
    weight_decay: NonNegativeFloat = Field(0.004, description="Decoupled: each step takes rate x this share off.")
    decay: Literal["kernels", "all"] = Field(
        "kernels", description="What decays; `kernels` spares biases, batch norm and any other one-dimensional weight."
    )
    l2_sp: NonNegativeFloat = Field(
        0.0,
        description="Half this times the squared distance of the backbone's trained weights from where the run began "
        "joins the loss; the head, which began at random, is left out. https://arxiv.org/abs/1802.01483",
    )
    clip_norm: PositiveFloat | None = Field(None, description="Largest norm of all gradients together.")
    stage_decay: Annotated[
        float, Field(gt=0, le=1, description="Share of the rate for each stage of distance from the head.")
    ] = 1.0
    layer_decay: Annotated[
        float, Field(gt=0, le=1, description="The same for each layer of distance; both multiply.")
    ] = 1.0
    batch_norm: Annotated[BatchNormMode, Field(validate_default=True)] = "frozen"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Momentum of a moving average of the weights, evaluated beside them; such as 0.999."
    )
    augment: bool = Field(True, description="`false` switches the recipe's augmentation off for this phase.")
    views: PositiveInt | None = Field(
        None,
        le=1000,
        description="Stores the features of this many augmented versions of each picture, which take turns by epoch, "
        "instead of augmenting anew in every epoch.",
    )
    early_stopping: EarlyStopping | None = None

    @field_validator("ramp_epochs")
    @classmethod
    def _ramp_fits(cls, ramp: float, info: ValidationInfo) -> float:
        if ramp > info.data.get("epochs", ramp):
            raise ValueError(f"must lie between 0 and epochs ({info.data['epochs']})")
        return ramp

    @field_validator("batch_norm")
    @classmethod
    def _norm_layers_train(cls, mode: BatchNormMode, info: ValidationInfo) -> BatchNormMode:
        # With everything in batch norm frozen these two would train little more than the head.
        policy = info.data.get("train")
        return "affine" if mode == "frozen" and isinstance(policy, (Bias, Norm)) else mode
