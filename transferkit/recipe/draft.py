"""A recipe as it was written, with all faults found so far, and as much of it as can be checked further."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from transferkit.errors import NOTHING, Problem, RecipeError
from transferkit.recipe.overrides import apply_changes, apply_overrides, plain_value
from transferkit.recipe.problems import faults_of
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.shipped import shipped_recipes
from transferkit.recipe.yaml_tree import Path, Tree, parse_yaml

# A recipe has a few kilobytes; a larger file is something else.
_MAX_BYTES = 2**20
# Taking out a fault brings up at most this many others: an entry, its missing keys, their parameters.
_MAX_ROUNDS = 6
# What stands in for a required value that is missing or wrong, so that everything around it can still be checked.
_STAND_INS: Mapping[str, object] = {
    "data": {"source": "sample"},
    "source": "sample",
    "name": "stand-in",
    "train": "head",
    "epochs": 1,
    "learning_rate": 1e-3,
}
# The same for an entry of a list, by the section that the list is in.
_ENTRY_STAND_INS: Mapping[str, object] = {"augment": "flip", "phases": {}, "evaluate": "validation", "model": 1}


@dataclass(frozen=True)
class Draft:
    """A recipe before it is checked against the tables.

    `recipe` has stand-ins at `bad_paths`; it is `None` only where nothing could be made of the file.
    """

    source: str
    tree: Tree
    problems: tuple[Problem, ...]
    bad_paths: frozenset[Path]
    recipe: Recipe | None

    def is_sound(self, path: Path) -> bool:
        """Whether the value at `path` is what the user wrote (or a default), neither at fault nor part of a fault."""
        return _is_apart(path, self.bad_paths)


def draft_recipe(path: FilePath, changes: Iterable[str] = (), overrides: Mapping[str, object] | None = None) -> Draft:
    """Read a recipe file.

    Raises:
        RecipeError: there is no file, or no text in it.
    """
    tree = parse_yaml(_read_text(path))
    if tree.data is None and not tree.problems:
        raise _unreadable(path, "empty; a recipe needs at least data.source")
    if isinstance(tree.data, dict):
        apply_changes(tree, changes)
        apply_overrides(tree, overrides or {})
    return draft_tree(tree, source=str(path))


def draft_values(
    values: Mapping[str, object],
    overrides: Mapping[str, object] | None = None,
    *,
    arguments: tuple[str, ...] = (),
    source: str,
) -> Draft:
    """A recipe from Python values, as YAML would give them; `source` names it in errors.

    Args:
        overrides: values by key, as `draft_recipe` takes them.
        arguments: what else can stand beside the sections, for whoever misspells it.
    """
    tree = Tree(plain_value(values))
    apply_overrides(tree, overrides or {})
    draft = draft_tree(tree, source=source)
    problems = [
        replace(one, allowed=(*one.allowed, *arguments)) if one.allowed and not one.path else one
        for one in draft.problems
    ]
    return replace(draft, problems=tuple(problems))


def draft_tree(tree: Tree, *, source: str) -> Draft:
    """Validate plain data; `source` names it in errors."""
    problems, bad_paths = list(tree.problems), set(tree.bad_paths)
    if not isinstance(tree.data, dict):
        if not problems:
            rule = "must be a mapping of keys"
            problems.append(Problem("", tree.data, rule, tuple(Recipe.model_fields), tree.where_of(())))
        return Draft(source, tree, tuple(problems), frozenset(bad_paths), None)
    recipe, data = None, copy.deepcopy(tree.data)
    # Each round takes out what is at fault. What comes up then is a consequence, no fault of its own.
    for attempt in range(_MAX_ROUNDS):
        try:
            recipe = Recipe.model_validate(data)
            break
        except ValidationError as error:
            faults = faults_of(error, Tree(data, tree.where))
        if attempt == 0:
            problems += [one.problem for one in faults if one.problem and _is_apart(one.path, bad_paths)]
        found = {one.path for one in faults}
        _take_out(data, found)
        bad_paths |= found | {one.meant for one in faults if one.meant}
    return Draft(source, tree, tuple(problems), frozenset(bad_paths), recipe)


def _read_text(path: FilePath) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        if path.suffix or path.name != str(path):
            raise _unreadable(path, f"no such file (looked from {FilePath.cwd()})") from None
        rule = "is neither a file nor the name of a shipped recipe"
        problem = Problem("", str(path), rule, tuple(shipped_recipes()))
        raise RecipeError(str(path), [problem]) from None
    except IsADirectoryError:
        raise _unreadable(
            path,
            "a folder; give a recipe file, or, for pictures in it, the recipe folder with "
            f"--set 'data.source={{folder: {path}}}'",
        ) from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:  # a null character in the name
        raise _unreadable(path, f"cannot be read: {error}") from None
    if len(content) > _MAX_BYTES:
        raise _unreadable(path, "larger than 1 MiB, so not a recipe")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, "not UTF-8 text; save the recipe as UTF-8", where=f"line {line}") from None


def _unreadable(path: FilePath, rule: str, *, where: str = "") -> RecipeError:
    return RecipeError(str(path), [Problem("", NOTHING, rule, where=where)])


def _is_apart(path: Path, bad_paths: Iterable[Path]) -> bool:
    return not any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in bad_paths)


def _take_out(data: Any, paths: Iterable[Path]) -> None:
    """Remove the values at `paths`, or put stand-ins there; the inner ones first."""
    for path in sorted(paths, key=len, reverse=True):
        _take_out_one(data, path)


def _take_out_one(data: Any, path: Path) -> None:
    parent, key = data, path[-1]
    try:
        for part in path[:-1]:
            parent = parent[part]
    except (KeyError, TypeError):
        return  # it went with what was around it
    if isinstance(parent, list):
        # The place stays, so that the entries behind it keep their index.
        parent[key] = copy.deepcopy(_ENTRY_STAND_INS.get(str(path[0])))
    elif key in parent:
        del parent[key]
    elif key in _STAND_INS:
        parent[key] = copy.deepcopy(_STAND_INS[key])
    else:  # a choice without a parameter that it needs: the choice goes as a whole
        _take_out_one(data, path[:-1])
