"""The recipe against every table, before anything is downloaded or any GPU is touched."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from transferkit.backbones.spec import BackboneSpec
from transferkit.backbones.table import BACKBONES
from transferkit.errors import NOTHING, Problem, RecipeError
from transferkit.recipe.draft import Draft, draft_recipe
from transferkit.recipe.overrides import parse_path
from transferkit.recipe.phases import Gradual, LastStages
from transferkit.recipe.problems import written_path
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.shipped import find_recipe
from transferkit.recipe.yaml_tree import path_text


def load_recipe(path: Path | str, changes: Iterable[str] = (), **overrides: object) -> Recipe:
    """Read a recipe and resolve it.

    Args:
        path: a recipe file, or the name of a shipped recipe.
        changes: texts `KEY=VALUE`, such as `phases[0].epochs=3`.
        overrides: values by key, `__` standing for a step down: `phases__0__epochs=3`.

    Raises:
        RecipeError: all faults of the file, its fields, between fields and against the tables, in one list.
    """
    return check_draft(draft_recipe(find_recipe(str(path)), changes, overrides))


def check_draft(draft: Draft) -> Recipe:
    """The resolved recipe of a draft.

    Raises:
        RecipeError: see `load_recipe`.
    """
    problems = [*draft.problems, *_problems_between_fields(draft)]
    if problems or draft.recipe is None:
        raise RecipeError(draft.source, sorted(problems, key=_line_of))
    return _resolve(draft.recipe)


def warnings_for(recipe: Recipe) -> tuple[str, ...]:
    """What is allowed but will probably disappoint, and how to choose otherwise."""
    found = []
    for index, phase in enumerate(recipe.phases):
        if phase.train.kind == "head":
            continue
        if recipe.model.weights == "none" and phase.batch_norm == "frozen" and _backbone(recipe).has_batch_norm:
            found.append(
                f"phases[{index}] ({phase.name}): weights are none and batch norm is frozen at its start, "
                "so a deep backbone gives nearly the same for every picture; set batch_norm: train"
            )
    return tuple(found)


def _resolve(recipe: Recipe) -> Recipe:
    if recipe.data.image_size is not None:
        return recipe
    size_px = BACKBONES[recipe.model.backbone].image_size_px
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"image_size": size_px})})


def _backbone_is_known(recipe: Recipe) -> Iterator[Problem]:
    if recipe.model.backbone not in BACKBONES:
        yield Problem("model.backbone", recipe.model.backbone, "is not a known backbone", tuple(BACKBONES))


def _weights_are_there(recipe: Recipe) -> Iterator[Problem]:
    if recipe.model.weights in ("imagenet", "none"):
        return
    # Reading weights takes NumPy and more, which most recipes can be checked without.
    from transferkit.backbones.weights import check_weights_path

    if rule := check_weights_path(recipe.model.weights):
        yield Problem("model.weights", recipe.model.weights, rule)


def _image_is_large_enough(recipe: Recipe) -> Iterator[Problem]:
    spec, size_px = _backbone(recipe), recipe.data.image_size
    if spec and size_px is not None and size_px < spec.min_size_px:
        yield Problem("data.image_size", size_px, f"is below the smallest size of {spec.name}, {spec.min_size_px} px")


def _splits_leave_training_pictures(recipe: Recipe) -> Iterator[Problem]:
    split = recipe.data.split
    if split.validation + split.test >= 1:
        both = f"validation ({split.validation:g}) and test ({split.test:g})"
        yield Problem("data.split", NOTHING, f"{both} leave nothing to train on; together they must be below 1")


def _test_split_exists(recipe: Recipe) -> Iterator[Problem]:
    source = recipe.data.source
    own = (
        (source.kind == "folder" and os.path.isdir(os.path.join(source.path, "test")))
        # Which splits a data set has is known only once it is there.
        or (source.kind == "tfds" and (source.splits is None or source.splits.test is not None))
    )
    if "test" in recipe.evaluate and recipe.data.split.test == 0 and not own:
        rule = "leaves no test split, but evaluate asks for one; raise it, or set evaluate: [validation]"
        yield Problem("data.split.test", 0, rule)


def _stages_exist(recipe: Recipe) -> Iterator[Problem]:
    spec = _backbone(recipe)
    for index, phase in enumerate(recipe.phases):
        policy = phase.train
        count = policy.count if isinstance(policy, LastStages) else policy.first if isinstance(policy, Gradual) else 0
        if spec and count > spec.num_stages:
            name = "count" if isinstance(policy, LastStages) else "first"
            rule = f"is more stages than {spec.name} has ({spec.num_stages}); to train everything, use train: all"
            yield Problem(f"phases[{index}].train.{policy.kind}.{name}", count, rule)


def _norm_layers_exist(recipe: Recipe) -> Iterator[Problem]:
    spec = _backbone(recipe)
    for index, phase in enumerate(recipe.phases):
        if spec and phase.train.kind == "norm" and not spec.has_batch_norm:
            yield Problem(f"phases[{index}].train", "norm", f"has nothing to train: {spec.name} has no batch norm")


# What each rule reads. A rule whose values are at fault themselves is left out, so that one fault is told once.
_RULES: tuple[tuple[Callable[[Recipe], Iterator[Problem]], tuple[str, ...]], ...] = (
    (_backbone_is_known, ("model.backbone",)),
    (_weights_are_there, ("model.weights",)),
    (_image_is_large_enough, ("model.backbone", "data.image_size")),
    (_splits_leave_training_pictures, ("data.split",)),
    (_test_split_exists, ("data.source", "data.split.test", "evaluate")),
    (_stages_exist, ("model.backbone",)),
    (_norm_layers_exist, ("model.backbone",)),
)


def _problems_between_fields(draft: Draft) -> Iterator[Problem]:
    if draft.recipe is None:
        return
    for rule, reads in _RULES:
        if all(draft.is_sound(parse_path(text) or ()) for text in reads):
            for problem in rule(draft.recipe):
                path = written_path(parse_path(problem.path) or (), draft.tree.data)
                if draft.is_sound(path):
                    yield replace(problem, path=path_text(path), where=draft.tree.where_of(path))


def _backbone(recipe: Recipe) -> BackboneSpec | None:
    return BACKBONES.get(recipe.model.backbone)


def _line_of(problem: Problem) -> tuple[bool, int]:
    number = problem.where.removeprefix("line ")
    return not number.isdecimal(), int(number) if number.isdecimal() else 0
