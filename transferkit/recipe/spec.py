"""The base of every part of a recipe, and fields that pick one thing from a table of specs."""

from collections.abc import Mapping
from functools import partial, reduce
from operator import or_
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticCustomError


class Spec(BaseModel):
    """What was asked for: frozen, strictly typed, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Choice(Spec):
    """One row of a table of specs; the recipe names it by `kind`.

    In a recipe it may stand as a bare name (`head`), with its first parameter (`{last_stages: 2}`), or with named
    parameters (`{rotate: {degrees: 10}}`, `{tfds: tf_flowers, data_dir: data/}`).
    """

    kind: str

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return tuple(name for name in cls.model_fields if name != "kind")


def _unfold(given: object, rows: Mapping[str, type[Choice]], what: str) -> object:
    """The recipe's short forms as pydantic's tagged form, `{"kind": …, parameter: …}`."""
    if isinstance(given, Choice):
        return given
    if isinstance(given, str):
        given = {given: None}
    if not isinstance(given, dict) or not given:
        raise PydanticCustomError("not_a_choice", "must be the name of {what}, or its name and parameters", {"what": what})
    named = [key for key in given if key in rows]
    if len(named) > 1:
        raise PydanticCustomError("two_choices", "must name one thing only: {what}", {"what": what})
    if not named:
        unknown = {"what": what, "given": str(next(iter(given))), "allowed": tuple(rows)}
        raise PydanticCustomError("unknown_choice", "is not the name of {what}", unknown)
    kind = named[0]
    value, beside = given[kind], {key: given[key] for key in given if key != kind}
    if isinstance(value, dict):
        return {"kind": kind, **value, **beside}
    if value is None:
        return {"kind": kind, **beside}
    parameters = rows[kind].parameters()
    if not parameters:
        raise PydanticCustomError("no_parameters", "takes no parameters: write {kind}", {"kind": kind})
    return {"kind": kind, parameters[0]: value, **beside}


def _fold(choice: Choice) -> object:
    """A choice as a recipe writes it, with every parameter named."""
    parameters = {name: value for name, value in choice.model_dump(mode="json").items() if name != "kind"}
    return {choice.kind: parameters} if parameters else choice.kind


def choice_of(*rows: type[Choice], what: str) -> Any:
    """The type of a field that holds one of `rows`; `what` names them in errors, such as "a freeze policy"."""
    table = {row.model_fields["kind"].default: row for row in rows}
    union = Annotated[reduce(or_, rows), Field(discriminator="kind")] if len(rows) > 1 else rows[0]
    return Annotated[union, BeforeValidator(partial(_unfold, rows=table, what=what)), PlainSerializer(_fold)]


def _as_tuple(given: object) -> object:
    return tuple(given) if isinstance(given, list) else given


# YAML has lists only; a frozen spec holds tuples.
FromList = BeforeValidator(_as_tuple)
