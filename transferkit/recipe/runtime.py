"""Where a run computes, what it keeps for later runs, and how often it writes down how far it is."""

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from transferkit.recipe.spec import Spec, refusal


class RuntimeSpec(Spec):
    """Where and in which precision the run computes."""

    backend: Literal["tensorflow", "jax"] = Field(
        "tensorflow", description='Keras\' backend; `jax` needs `pip install "transferkit[jax]"`.'
    )
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "data_parallel", "tpu"] = Field(
        "auto", description="How replicas are placed. `auto` takes all devices of this machine, never several machines."
    )
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "auto", description="Of activations; weights and the head stay float32. `auto` chooses by device."
    )
    xla: Literal["auto", "on", "off"] = Field(
        "auto", description="Compile training steps with XLA; `auto` does so on GPU and TPU. JAX always does."
    )
    gradient_accumulation_steps: PositiveInt = Field(
        1, le=1024, description="Parts that each batch is computed in, one after the other, to save memory."
    )
    recompute: bool = Field(
        False, description="Compute activations again for the backward pass instead of keeping them, to save memory."
    )


class CacheSpec(Spec):
    """What is kept on disk for later epochs and runs: the outputs of frozen stages."""

    features: Literal["auto", "none"] = Field("auto", description="`none` computes them again in every epoch.")
    precision: Literal["float32", "float16"] = Field("float32", description="`float16` halves the space.")
    max_gb: PositiveFloat = Field(20.0, description="Above it, what was not used for the longest time is removed.")
    folder: str | None = Field(
        None, min_length=1, description="Default: the folder in TRANSFERKIT_HOME, or ~/.cache/transferkit."
    )


SpanUnit = Literal["seconds", "steps", "epochs"]
# What a recipe may write, what it counts, and how many of them it is.
_SPAN_UNITS: Final[dict[str, tuple[SpanUnit, int]]] = {
    "s": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "step": ("steps", 1),
    "steps": ("steps", 1),
    "epoch": ("epochs", 1),
    "epochs": ("epochs", 1),
}
_SPAN = re.compile(rf"([0-9]{{1,9}}) *({'|'.join(_SPAN_UNITS)})")


def _as_span(given: object) -> object:
    """A number and its unit, apart by one space."""
    match = _SPAN.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is None or not int(match[1]):
        raise refusal("must be a whole number of s, min, h, steps or epochs, such as 10min, 200 steps or 1 epoch")
    return f"{int(match[1])} {match[2]}"


class CheckpointSpec(Spec):
    """How often the state of the run is written, to resume from."""

    every: Annotated[str, BeforeValidator(_as_span)] = Field(
        "1 epoch", description="Such as `10 min`, `200 steps` or `1 epoch`."
    )

    @property
    def span(self) -> tuple[int, SpanUnit]:
        """How many of what."""
        number, name = self.every.split()
        unit, count = _SPAN_UNITS[name]
        return int(number) * count, unit
