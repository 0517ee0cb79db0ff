"""Pydantic's list of errors as problems: where, what was given, what is allowed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from transferkit.errors import NOTHING, Problem
from transferkit.recipe.spec import Spec
from transferkit.recipe.yaml_tree import Path, Tree, path_text

# Settled names that nothing acts on yet: key paths, and values as `path=value`.
NOT_BUILT_YET = frozenset(
    {
        "checkpoint",
        "data.source=csv",
        "data.cache=none",
        "loss=focal",
        "loss=binary_cross_entropy",
        "runtime.backend=jax",
        *(f"runtime.strategy={name}" for name in ("mirrored", "multi_worker", "data_parallel", "tpu")),
    }
)
_NOT_BUILT = "is not built yet"
_TYPES = {
    "model_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
}


def problems_of(error: ValidationError, root: type[Spec], tree: Tree) -> Iterator[tuple[Path, Problem]]:
    """Each of pydantic's errors with the path of the data at fault, as the recipe wrote it."""
    for entry in error.errors(include_url=False):
        path = _written(entry["loc"], tree.data)
        yield path, _problem(entry, path, root, tree)


def _problem(entry: Mapping[str, Any], path: Path, root: type[Spec], tree: Tree) -> Problem:
    kind, given, context = entry["type"], entry["input"], entry.get("ctx", {})
    where = tree.where_of(path)
    if kind == "extra_forbidden":
        if path_text(path) in NOT_BUILT_YET:
            return Problem(path_text(path[:-1]), path[-1], _NOT_BUILT, where=where)
        allowed = _keys_of(entry["loc"][:-1], root)
        return Problem(path_text(path[:-1]), path[-1], "is not a key here", allowed, where)
    if kind == "missing":
        return Problem(path_text(path[:-1]), NOTHING, f"{path[-1]!r} is missing", where=where)
    if kind == "unknown_choice":
        return _not_in(context["allowed"], path, context["given"], f"is not the name of {context['what']}", where)
    if kind == "union_tag_invalid":
        return _not_in(_quoted(context["expected_tags"]), path, context["tag"], "is not a known name", where)
    if kind == "literal_error":
        return _not_in(_quoted(context["expected"]), path, given, "is not allowed", where)
    if kind == "value_error":
        return Problem(path_text(path), given, str(context["error"]), where=where)
    rule = _TYPES.get(kind) or entry["msg"].replace("Input should be", "must be").replace("a valid", "a")
    return Problem(path_text(path), given, rule, where=where)


def _not_in(allowed: tuple[str, ...], path: Path, given: object, rule: str, where: str) -> Problem:
    if f"{path_text(path)}={given}" in NOT_BUILT_YET:
        rule = _NOT_BUILT
    return Problem(path_text(path), given, rule, allowed, where)


def _quoted(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"'([^']*)'", text))


def _written(location: Path, data: object) -> Path:
    """Pydantic's location as a path in the recipe: short forms have no node for a choice or its first parameter."""
    path: list[str | int] = []
    beside: object = None
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(data, dict) and part in data:
            beside, data = data, data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            beside, data = None, data[part]
        elif isinstance(beside, dict) and part in beside:  # `{tfds: tf_flowers, data_dir: 3}`
            path.pop()
            data = beside[part]
        elif last and isinstance(data, dict):  # a missing key
            pass
        else:
            continue
        path.append(part)
    return tuple(path)


def _keys_of(location: Path, spec: type[Spec]) -> tuple[str, ...]:
    candidates: list[type[Spec]] = [spec]
    for part in location:
        if isinstance(part, int):
            continue
        named = [one for one in candidates if part in (_default(one, "kind"), _default(one, "name"))]
        if len(candidates) > 1 or (named and part not in candidates[0].model_fields):
            candidates = named
        else:
            candidates = list(_specs_in(candidates[0].model_fields[part].annotation))
    keys = [key for one in candidates for key in one.model_fields if key != "kind"]
    return tuple(dict.fromkeys(keys))


def _default(spec: type[Spec], field: str) -> object:
    return spec.model_fields[field].default if field in spec.model_fields else None


def _specs_in(annotation: object) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for inner in get_args(annotation):
        yield from _specs_in(inner)
