"""`--set phases[0].epochs=3`: changes of a recipe from the command line or from Python, checked like the file."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Integral, Real

from transferkit.errors import NOTHING, Problem, show_value
from transferkit.recipe.yaml_tree import MAX_DEPTH, Path, Tree, parse_yaml, path_text

_PART = re.compile(r"\.?([^.\[\]=]+)|\[([0-9]{1,9})\]")


def parse_path(text: str) -> Path | None:
    """`phases[0].epochs` as `("phases", 0, "epochs")`; `None` if it is no key path."""
    parts: list[str | int] = []
    end = 0
    while end < len(text):
        match = _PART.match(text, end)
        if match is None:
            return None
        parts.append(match[1].strip() if match[1] is not None else int(match[2]))
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
            within = f"{path_text(path)}."
            tree.problems += [replace(one, path=(within + one.path).rstrip(".")) for one in parsed.problems]
            tree.bad_paths.add(path)
            continue
        _apply(tree, path, parsed.data, where="--set")


def apply_overrides(tree: Tree, overrides: Mapping[str, object]) -> None:
    """Write Python values by key into `tree`; `phases__0__epochs` is `phases[0].epochs`."""
    for key, value in overrides.items():
        path = tuple(int(part) if part.isdecimal() else part for part in key.split("__"))
        _apply(tree, path, plain_value(value), where=f"{key}=")


def plain_value(value: object, *, num_open: int = 0) -> object:
    """A Python value as YAML would give it: mappings as `dict`, sequences as `list`, paths as text.

    What YAML cannot give stays as it is, and is refused where a recipe has a type for it.
    """
    if num_open > MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): plain_value(one, num_open=num_open + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(one, num_open=num_open + 1) for one in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        # Bytes in file names that are no UTF-8 could not be written to a recipe; they show as \\udc…
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Integral) and not isinstance(value, bool):  # NumPy's numbers too
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


def _apply(tree: Tree, path: Path, value: object, *, where: str) -> None:
    """Put plain `value` at `path`, making the mappings on the way."""
    if rule := _misfit(tree.data, path):
        tree.problems.append(Problem(path_text(path), NOTHING, rule, where=where))
        return
    node = tree.data
    for end, part in enumerate(path[:-1], start=1):
        if (node.get(part) if isinstance(node, dict) else node[part]) is None:
            node[part] = {}
            tree.where[path[:end]] = where
        node = node[part]
    node[path[-1]] = value
    # What was written there before is gone.
    for below in [known for known in tree.where if known[: len(path)] == path]:
        del tree.where[below]
    tree.where[path] = where


def _misfit(data: object, path: Path) -> str | None:
    """Why nothing can be put at `path`."""
    if len(path) > MAX_DEPTH:
        return "no key lies that deep"
    node = data
    for end, part in enumerate(path):
        place = path_text(path[:end]) or "the recipe"
        if isinstance(part, int):
            if node is None:
                return f"{place} is not written in this recipe; set {place} as a whole"
            if not isinstance(node, list):
                return f"{place} is not a list"
            if part >= len(node):
                return f"{place} has {len(node)} entries" + (f", the last is {place}[{len(node) - 1}]" if node else "")
            node = node[part]
        elif isinstance(node, list):
            example = f"[{part}]" if part.isdecimal() else f"[0].{part}"
            return f"{place} is a list; say which entry, as in {place}{example}"
        elif node is not None and not isinstance(node, dict):
            return f"{place} is {show_value(node)}, which has no keys; set {place} as a whole"
        else:
            node = node.get(part) if node is not None else None
    return None
