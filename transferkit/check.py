"""The recipe against every table, before anything is downloaded or any GPU is touched."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from transferkit.backbones.table import BACKBONES
from transferkit.errors import Problem, RecipeError
from transferkit.recipe.draft import Draft, draft_recipe
from transferkit.recipe.overrides import parse_path
from transferkit.recipe.phases import PhaseSpec
from transferkit.recipe.problems import written_path
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.shipped import find_recipe
from transferkit.recipe.yaml_tree import path_text
from transferkit.rules import PHASE_RULES, RULES


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
    return tuple(
        f"phases[{index}] ({phase.name}): {warning}"
        for index, phase in enumerate(recipe.phases)
        for warning in _warnings_for_phase(recipe, phase)
    )


def _warnings_for_phase(recipe: Recipe, phase: PhaseSpec) -> Iterator[str]:
    head_only = phase.train.kind == "head"
    random_start = recipe.model.weights == "none" and BACKBONES[recipe.model.backbone].has_batch_norm
    if random_start and phase.batch_norm == "frozen" and not head_only:
        yield (
            "weights are none and batch norm is frozen at its start, so a deep backbone gives nearly the same for "
            "every picture; set batch_norm: train"
        )
    if phase.l2_sp and head_only:
        yield "l2_sp has nothing to pull back, since nothing of the backbone trains; leave it out"
    if phase.views and phase.views > phase.epochs:
        yield (
            f"{phase.views} views are stored but each epoch uses one, so {phase.views - phase.epochs} would never be "
            f"used; set views: {phase.epochs} or fewer"
        )


def _resolve(recipe: Recipe) -> Recipe:
    if recipe.data.image_size is not None:
        return recipe
    size_px = BACKBONES[recipe.model.backbone].image_size_px
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"image_size": size_px})})


def _problems_between_fields(draft: Draft) -> Iterator[Problem]:
    if draft.recipe is None:
        return
    for problem in _problems_of_sound_fields(draft, draft.recipe):
        path = written_path(parse_path(problem.path) or (), draft.tree.data)
        if draft.is_sound(path):
            yield replace(problem, path=path_text(path), where=draft.tree.where_of(path))


def _problems_of_sound_fields(draft: Draft, recipe: Recipe) -> Iterator[Problem]:
    """By the paths of the recipe's fields; what a recipe writes may be shorter."""

    def are_sound(reads: Iterable[str], within: str = "") -> bool:
        return all(draft.is_sound(parse_path(within + text) or ()) for text in reads)

    for rule, reads in RULES:
        if are_sound(reads):
            yield from rule(recipe)
    for rule, reads, phase_reads in PHASE_RULES:
        for index, phase in enumerate(recipe.phases):
            within = f"phases[{index}]."
            if are_sound(reads) and are_sound(phase_reads, within):
                yield from (replace(one, path=within + one.path) for one in rule(recipe, phase))


def _line_of(problem: Problem) -> tuple[bool, int]:
    number = problem.where.removeprefix("line ")
    return not number.isdecimal(), int(number) if number.isdecimal() else 0
