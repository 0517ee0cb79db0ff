"""`--set phases[0].epochs=3`: changes of a recipe from the command line, checked like the file."""

import re
from collections.abc import Iterable, Mapping

from transferkit.errors import NOTHING, Problem
from transferkit.recipe.yaml_tree import Path, Tree, parse_yaml, path_text

_PART = re.compile(r"\.?([^.\[\]=]+)|\[(\d+)\]")


def parse_path(text: str) -> Path | None:
    """`phases[0].epochs` as `("phases", 0, "epochs")`; `None` if it is no key path."""
    parts: list[str | int] = []
    end = 0
    while end < len(text):
        match = _PART.match(text, end)
        if match is None:
            return None
        parts.append(match[1] if match[1] is not None else int(match[2]))
        end = match.end()
    return tuple(parts) if parts and not text.startswith(".") else None


def apply_changes(tree: Tree, changes: Iterable[str]) -> None:
    """Write texts `KEY=VALUE` (VALUE is YAML) into `tree`, in order. Faults join the tree's problems."""
    for change in changes:
        key, equals, value = change.partition("=")
        path = parse_path(key.strip())
        if not equals or path is None:
            rule = "must look like KEY=VALUE, such as phases[0].epochs=3"
            tree.problems.append(Problem("", change, rule, where="--set"))
            continue
        parsed = parse_yaml(value, origin="--set")
        if parsed.problems:
            tree.problems.append(Problem(path_text(path), value, "is not valid YAML", where="--set"))
            continue
        _apply(tree, path, parsed.data, where="--set")


def apply_overrides(tree: Tree, overrides: Mapping[str, object]) -> None:
    """Write Python values by key into `tree`; `phases__0__epochs` is `phases[0].epochs`."""
    for key, value in overrides.items():
        path = tuple(int(part) if part.isdigit() else part for part in key.split("__"))
        _apply(tree, path, value, where=f"{key}=")


def _apply(tree: Tree, path: Path, value: object, *, where: str) -> None:
    """Put plain `value` at `path`, making the mappings on the way."""
    node = tree.data
    for end, part in enumerate(path):
        last = end == len(path) - 1
        if isinstance(part, int):
            if not isinstance(node, list) or part >= len(node):
                have = f"has {len(node)} entries, counted from 0" if isinstance(node, list) else "is not a written list"
                place = path_text(path[:end]) or "the recipe"
                tree.problems.append(Problem(path_text(path), NOTHING, f"{place} {have}", where=where))
                return
        elif not isinstance(node, dict):
            rule = f"{path_text(path[:end])} is {node!r} there, which has no keys; set it as a whole"
            tree.problems.append(Problem(path_text(path), NOTHING, rule, where=where))
            return
        if last:
            node[part] = value
            _forget_below(tree, path)
            tree.where[path] = where
        else:
            if isinstance(node, dict) and node.get(part) is None:
                node[part] = {}
            node = node[part]


def _forget_below(tree: Tree, path: Path) -> None:
    for known in [known for known in tree.where if known[: len(path)] == path]:
        del tree.where[known]
