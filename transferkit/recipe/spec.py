"""The base of every part of a recipe, and fields that pick one thing from a table of specs."""

import difflib
from collections.abc import Mapping
from functools import partial, reduce
from operator import or_
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
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


def refusal(rule: str, **context: object) -> PydanticCustomError:
    """An error for a validator to raise.

    Args:
        rule: completes the sentence "<given> …".
        context: `given`, if not the whole value is at fault, and `allowed`, as in `errors.Problem`.
    """
    return PydanticCustomError("refusal", "{rule}", {"rule": rule, **context})


def _unfold(given: object, rows: Mapping[str, type[Choice]], what: str) -> object:
    """The recipe's short forms as pydantic's tagged form, `{parameter: …, "kind": …}`."""
    if isinstance(given, Choice):
        return given
    if isinstance(given, str):
        given = {given: None}
    if not isinstance(given, dict) or not given:
        raise refusal(f"must be the name of {what}, or its name and parameters", allowed=tuple(rows))
    named = [key for key in given if key in rows]
    if len(named) > 1:
        instead = f"; to put one in the place of another set the whole, as in {{{named[-1]}: …}}"
        raise refusal(f"names {' and '.join(named)}, but only one of them can stand here{instead}")
    if not named:
        nearest = (key for key in given if difflib.get_close_matches(str(key), rows, n=1))
        unknown = next(nearest, next(iter(given)))
        raise refusal(f"is not the name of {what}", given=unknown, allowed=tuple(rows))
    kind = named[0]
    first, *_ = parameters = rows[kind].parameters() or ("",)
    value, beside = given[kind], {key: value for key, value in given.items() if key != kind}
    inside = value if isinstance(value, dict) else {} if value is None else {first: value}
    if not first and inside:
        raise refusal(f"takes no parameters; write {kind} alone", given=kind)
    if twice := inside.keys() & beside.keys():
        raise refusal(f"gets {' and '.join(sorted(twice))} twice", given=kind)
    if "kind" in inside or "kind" in beside:
        raise refusal("is not a key here", given="kind", allowed=parameters)
    if not inside and not beside and first and rows[kind].model_fields[first].is_required():
        raise refusal(f"needs its {first}, as in {{{kind}: <{first}>}}", given=kind)
    return {**inside, **beside, "kind": kind}


def _fold(choice: Choice) -> object:
    """A choice as a recipe writes it, with every parameter named."""
    parameters = {name: value for name, value in choice.model_dump(mode="json").items() if name != "kind"}
    return {choice.kind: parameters} if parameters else choice.kind


def choice_of(*rows: type[Choice], what: str) -> Any:
    """The type of a field that holds one of `rows`; `what` names them in errors, such as "a freeze policy"."""
    table = {row.model_fields["kind"].default: row for row in rows}
    union = Annotated[reduce(or_, rows), Field(discriminator="kind")] if len(rows) > 1 else rows[0]
    return Annotated[union, BeforeValidator(partial(_unfold, rows=table, what=what)), PlainSerializer(_fold)]


class FrozenDict(dict):
    """A mapping that stays as it is, so that a spec with one can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))

    def _refuse(self, *_: object, **__: object) -> None:
        raise TypeError("a recipe does not change; make another one with model_copy")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


Frozen = AfterValidator(FrozenDict)


def _as_tuple(given: object) -> object:
    return tuple(given) if isinstance(given, list) else given


# YAML has lists only; a frozen spec holds tuples.
FromList = BeforeValidator(_as_tuple)
