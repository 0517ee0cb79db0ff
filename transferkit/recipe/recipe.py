"""The whole recipe: everything one run needs."""

import re
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, field_validator

from transferkit.recipe.augment import Augmentation, RandomCrop
from transferkit.recipe.data import DataSpec
from transferkit.recipe.loss import BinaryCrossEntropy, CrossEntropy, Loss
from transferkit.recipe.model import ModelSpec
from transferkit.recipe.phases import Cosine, Head, LastStages, PhaseSpec
from transferkit.recipe.runtime import CacheSpec, CheckpointSpec, RuntimeSpec
from transferkit.recipe.spec import FromList, Spec


class Recipe(Spec):
    """Everything one run needs; every default is written here and nowhere else."""

    name: str = Field("finetune", min_length=1, max_length=100, description="Begins the run folder's name.")
    seed: NonNegativeInt = Field(0, lt=2**31)
    data: DataSpec
    model: ModelSpec = ModelSpec()
    augment: Annotated[tuple[Augmentation, ...], FromList] = ()
    loss: Loss = CrossEntropy()
    phases: Annotated[tuple[PhaseSpec, ...], FromList, Field(min_length=1)] = (
        PhaseSpec(name="warm-up", train=Head(), epochs=10, learning_rate=1e-3, augment=False),
        PhaseSpec(
            name="fine-tune",
            train=LastStages(count=2),
            epochs=10,
            learning_rate=1e-4,
            schedule=Cosine(),
            ramp_epochs=1.0,
            stage_decay=0.5,
        ),
    )
    monitor: Literal["val_accuracy", "val_map", "val_loss"] = Field(
        "val_accuracy", description="Chooses the best epoch; val_map: mean average precision, of any number of classes."
    )
    evaluate: Annotated[
        tuple[Literal["validation", "test"], ...], FromList, Field(description="Splits that are reported.")
    ] = ("validation", "test")
    runtime: RuntimeSpec = RuntimeSpec()
    cache: CacheSpec = CacheSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()

    @field_validator("name")
    @classmethod
    def _name_fits_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError("may hold letters, digits, '_', '-' and '.' only, since it begins a folder's name")
        return name

    @field_validator("evaluate")
    @classmethod
    def _each_split_once(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(splits)) < len(splits):
            raise ValueError("names a split twice")
        return splits

    @property
    def margin(self) -> float:
        """By what share of the side pictures are prepared larger than the model sees them."""
        return next((one.margin for one in self.augment if isinstance(one, RandomCrop)), 0.0)

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have any number of classes."""
        return isinstance(self.loss, BinaryCrossEntropy)
