"""Pydantic's list of errors as problems: where, what was given, what is allowed."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import ValidationError

from transferkit.errors import NOTHING, Problem, show_value
from transferkit.recipe.phases import OptimizerSpec
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.spec import Choice, Spec
from transferkit.recipe.yaml_tree import Path, Tree, path_text

# Keys that people expect.
_UNKNOWN_KEYS = {"data.split.train": "is no key: what validation and test leave over trains"}
_NUMBER = re.compile(r"[-+.\deE]*\d")
# By pydantic's error type; filled in with the error's context.
_RULES = {
    "model_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
    "too_short": "must have {min_length} or more entries",
    "dict_type": "must be a mapping of keys",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One of pydantic's errors.

    Args:
        path: of the data at fault, as the recipe wrote it.
        problem: `None` if another fault tells it already.
        meant: the path that a misspelt key was probably meant for.
    """

    path: Path
    problem: Problem | None
    meant: Path | None = None


def faults_of(error: ValidationError, tree: Tree) -> list[Fault]:
    """All faults of a recipe's single fields, each told once."""
    entries = [(entry, written_path(entry["loc"], tree.data)) for entry in error.errors(include_url=False)]
    faults = [_fault(entry, path, tree) for entry, path in entries]
    meant = {fault.meant for fault in faults}
    told = [entry["type"] == "missing" and path in meant for entry, path in entries]
    return [Fault(one.path, None) if silent else one for one, silent in zip(faults, told, strict=True)]


def _fault(entry: Mapping[str, Any], path: Path, tree: Tree) -> Fault:
    kind, context = entry["type"], entry.get("ctx", {})
    where = tree.where_of(path)
    parent, key = path_text(path[:-1]), path[-1]
    if kind == "extra_forbidden":
        rule = _UNKNOWN_KEYS.get(path_text(path), "is not a key here")
        problem = Problem(parent, key, rule, _keys_of(_spec_at(entry["loc"][:-1])), where)
        if rule == "is not a key here" and (homes := _homes_of(key)):
            rule = f"{rule}; it belongs to {' or '.join(homes)}"
            # An argument in Python; in a list it needs the entry's number as well.
            if where == f"{key}=" and not homes[0].startswith(("phases", "augment")):
                rule += f": write {homes[0].replace('.', '__')}__{key}=…"
            problem = replace(problem, rule=rule, allowed=())
        return Fault(path, problem, (*path[:-1], problem.guess) if problem.guess else None)
    if kind == "missing":
        return Fault(path, Problem(parent, NOTHING, f"{key!r} is missing", where=where))
    given, allowed = context.get("given", entry["input"]), context.get("allowed", ())
    if kind == "literal_error":
        allowed = tuple(re.findall(r"'([^']*)'", context["expected"]))
    elif kind == "model_type":
        allowed = _keys_of(_spec_at(entry["loc"]))
    return Fault(path, Problem(path_text(path), given, _rule(entry), allowed, where))


def _rule(entry: Mapping[str, Any]) -> str:
    kind, given, context = entry["type"], entry["input"], entry.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return "is not allowed"
    limits = {name: int(one) if isinstance(one, float) and one.is_integer() else one for name, one in context.items()}
    rule = _RULES[kind].format_map(limits) if kind in _RULES else entry["msg"]
    if kind == "tuple_type" and isinstance(given, (str, int, float)) and entry["loc"] != ("phases",):
        return f"{rule}: [{show_value(given)}]"
    if kind == "string_type" and isinstance(given, (int, float)):
        return f"{rule}; put it in quotes"
    if kind in ("int_type", "float_type") and isinstance(given, str) and _NUMBER.fullmatch(given):
        return f"{rule}; take away the quotes"
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"{rule}: {int(given)}"
    return rule


def written_path(location: Path, data: object) -> Path:
    """Pydantic's location as a path in the recipe `data`: short forms have no node for a choice or its parameter."""
    path: list[str | int] = []
    beside: object = None  # the mapping that names a choice, while `data` is what stands behind the name
    for part, options in _steps(location):
        if isinstance(part, int):
            path.append(part)
            beside, data = None, data[part] if isinstance(data, list) and part < len(data) else None
            continue
        choice = options[0] if len(options) == 1 and issubclass(options[0], Choice) else None
        if choice and beside is None and isinstance(data, dict) and (name := _tag(choice)) in data:
            path.append(name)
            beside, data = data, data[name]
        if part is None:
            continue
        if isinstance(data, dict) and part in data:
            path.append(part)
            data = data[part]
        elif isinstance(beside, dict) and part in beside:  # `{tfds: tf_flowers, data_dir: 3}`
            path[-1] = part
            data = beside[part]
        elif beside is None or data is None or isinstance(data, dict) or part != choice.parameters()[0]:
            path.append(part)  # not written
            data = None
        beside = None
    return tuple(path)


def _steps(location: Path) -> Iterator[tuple[str | int | None, tuple[type[Spec], ...]]]:
    """Each part of a location with the specs that can stand around it; `None` for the tag of a choice."""
    options: tuple[type[Spec], ...] = (Recipe,)
    for part in location:
        if isinstance(part, int):
            yield part, options
        elif len(options) > 1:
            options = tuple(one for one in options if _tag(one) == part)
            yield None, options
        else:
            yield part, options
            options = _specs_below(options, part)


def _spec_at(location: Path) -> type[Spec]:
    """The spec whose keys stand at a location."""
    # One step more, into a list, moves to no other spec.
    *_, (_, options) = _steps((*location, 0))
    return options[0]


def _specs_below(options: tuple[type[Spec], ...], key: str) -> tuple[type[Spec], ...]:
    fields = options[0].model_fields if options else {}
    return tuple(_specs_in(fields[key].annotation)) if key in fields else ()


def _specs_in(annotation: object) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for inner in get_args(annotation):
        yield from _specs_in(inner)


def _homes_of(key: str) -> list[str]:
    """The sections of a recipe that have such a key, or take it as the name of a choice."""
    return [place for place, keys in _sections(Recipe, "the top level") if key in keys]


def _sections(spec: type[Spec], place: str) -> Iterator[tuple[str, Collection[object]]]:
    """Each section below `spec` with its keys, and each place of a choice with the names it is made by."""
    yield place, spec.model_fields
    for key, field in spec.model_fields.items():
        below = key if spec is Recipe else f"{place}.{key}"
        specs = tuple(_specs_in(field.annotation))
        yield below, [_tag(one) for one in specs if issubclass(one, Choice)]
        for one in specs:
            if _tag(one) is None:
                yield from _sections(one, below)


def _tag(spec: type[Spec]) -> object:
    """The name by which a choice among specs is made."""
    name = "kind" if issubclass(spec, Choice) else "name" if issubclass(spec, OptimizerSpec) else None
    return spec.model_fields[name].default if name else None


def _keys_of(spec: type[Spec]) -> tuple[str, ...]:
    return tuple(key for key in spec.model_fields if key != "kind")
