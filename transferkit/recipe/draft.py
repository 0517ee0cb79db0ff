"""A recipe as it was written, with all faults found so far, and as much of it as can be checked further."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from transferkit.errors import NOTHING, Problem, RecipeError
from transferkit.recipe.overrides import apply_changes, apply_overrides
from transferkit.recipe.problems import problems_of
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.yaml_tree import Path, Tree, parse_yaml

# What stands in for a required value that is missing or wrong, so that everything around it can still be checked.
_STAND_INS: Mapping[str, object] = {
    "data": {"source": "sample"},
    "source": "sample",
    "name": "stand-in",
    "train": "head",
    "epochs": 1,
    "learning_rate": 1e-3,
}

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
        return not any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in self.bad_paths)


def draft_recipe(
    path: FilePath, changes: Iterable[str] = (), overrides: Mapping[str, object] | None = None
) -> Draft:
    """Read a recipe file.

    Raises:
        RecipeError: there is no file, or no text in it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise _unreadable(path, "no such file") from None
    except IsADirectoryError:
        raise _unreadable(path, "a directory, not a recipe file") from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from None
    tree = parse_yaml(text)
    if tree.data is None and not tree.problems:
        raise _unreadable(path, "empty; a recipe needs at least data.source")
    if isinstance(tree.data, dict):
        apply_changes(tree, changes)
        apply_overrides(tree, overrides or {})
    return draft_tree(tree, source=str(path))


def draft_values(values: Mapping[str, Any], *, source: str) -> Draft:
    """A recipe from Python values, as YAML would give them; `source` names it in errors."""
    return draft_tree(Tree(copy.deepcopy(dict(values))), source=source)


def draft_tree(tree: Tree, *, source: str) -> Draft:
    """Validate plain data; `source` names it in errors."""
    if not isinstance(tree.data, dict):
        if not tree.problems:
            tree.problems.append(Problem("", tree.data, "must be a mapping of keys", tuple(Recipe.model_fields), "line 1"))
        return Draft(source, tree, tuple(tree.problems), frozenset(), None)
    problems, bad_paths = list(tree.problems), set()
    recipe, data = None, copy.deepcopy(tree.data)
    # Each round takes out what is at fault; filling its place can bring up the next one.
    for round_number in range(6):
        try:
            recipe = Recipe.model_validate(data)
            break
        except ValidationError as error:
            found = list(problems_of(error, Recipe, Tree(data, tree.where)))
        if round_number == 0:
            problems.extend(problem for _, problem in found)
        bad_paths.update(path for path, _ in found)
        # Deepest and last first: taking out a list entry moves the ones behind it.
        for path in sorted({path for path, _ in found}, key=_sort_key, reverse=True):
            _take_out(data, path)
    return Draft(source, tree, tuple(problems), frozenset(bad_paths), recipe)


def _unreadable(path: FilePath, rule: str) -> RecipeError:
    return RecipeError(str(path), [Problem("", NOTHING, rule)])


def _sort_key(path: Path) -> tuple:
    return tuple((isinstance(part, str), str(part), part if isinstance(part, int) else 0) for part in path)


def _take_out(data: object, path: Path) -> None:
    """Remove the value at `path`, or put a stand-in there."""
    if not path:
        return
    parent = data
    for part in path[:-1]:
        if isinstance(parent, (dict, list)):
            parent = parent[part]
    key = path[-1]
    if isinstance(parent, list):
        # The place stays, so that the entries behind it keep their index.
        parent[key] = _ENTRY_STAND_INS.get(str(path[0]), None)
    elif key in _STAND_INS and key not in parent:
        parent[key] = copy.deepcopy(_STAND_INS[key])
    elif key in parent:
        del parent[key]
    else:  # a choice without a parameter that it needs: the choice goes as a whole
        _take_out(data, path[:-1])
