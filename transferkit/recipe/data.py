"""Where the pictures come from, and how they are chosen, split, sized and batched."""

import re
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from transferkit.recipe.imbalance import Imbalance, NoBalance
from transferkit.recipe.source import Source
from transferkit.recipe.spec import FromList, Frozen, FrozenDict, Spec

Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], FromList]


class SplitSpec(Spec):
    """Shares of each class, as fractions; the rest trains. A source's own splits win."""

    validation: Annotated[float, Field(gt=0, lt=1, description="Chooses the best epoch, so it cannot be empty.")] = 0.1
    test: Annotated[float, Field(ge=0, lt=1, description="Reports, and is read once.")] = 0.1
    method: Literal["stratified", "hash"] = Field(
        "stratified",
        description="stratified: exact shares of each class; hash: by name alone, so that a picture never moves.",
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="Pattern; pictures whose paths give the same match (its first group, if any) stay together.",
    )
    fold: str | None = Field(None, description="Such as 2/5: the second of five parts tests, the others train.")
    manifest: str | None = Field(None, min_length=1, description="splits.csv of a run, whose splits are used again.")

    @field_validator("group")
    @classmethod
    def _group_is_a_pattern(cls, group: str | None) -> str | None:
        try:
            re.compile(group or "")
        except re.error as error:
            raise ValueError(f"is no pattern: {error.msg}") from error
        return group

    @field_validator("fold", mode="before")
    @classmethod
    def _fold_exists(cls, fold: object) -> object:
        number, _, count = "1/2".partition("/") if fold is None else str(fold).partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) and int(count) > 1):
            raise ValueError(
                "must be <number>/<count>, such as 2/5 for the second of five; the number is at most the count, and "
                "the count at least 2"
            )
        return fold


class DataSpec(Spec):
    """Pictures, from their source to the batches."""

    source: Source
    class_names: Names | None = Field(None, min_length=2, description="In label order; default: sorted.")
    keep_classes: Names | None = Field(None, min_length=1, description="The others are left out.")
    rename: Annotated[dict[str, str], Frozen] = Field(FrozenDict(), description="New name by old one.")
    merge: Annotated[dict[str, Names], Frozen] = Field(
        FrozenDict(), description="One class of several: their names by the new one."
    )
    exclude: str | Names | None = Field(
        None, description="Paths, or a file that lists them: one per line, or doctor's JSON."
    )
    duplicates: Literal["drop", "group"] = Field(
        "drop", description="drop: copies of a file count once; group: and pictures that look alike stay in one split."
    )
    split: SplitSpec = SplitSpec()
    imbalance: Imbalance = NoBalance()
    image_size: PositiveInt | None = Field(None, le=4096, description="Pixels per side; default: the backbone's.")
    resize: Literal["crop", "pad", "stretch"] = "crop"
    batch_size: PositiveInt = Field(32, le=65_536, description="Global, over all replicas.")
    cache: Literal["auto", "memory", "disk", "none"] = Field("auto", description="Where prepared pictures are kept.")
    max_megapixels: PositiveFloat = Field(100.0, description="Larger pictures are left out.")
