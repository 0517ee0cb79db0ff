"""No key is parsed and then ignored: each one changes the resolved recipe, and each one is read by the code."""

import ast
import copy
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import transferkit
from transferkit.check import check_draft
from transferkit.recipe.augment import AUGMENTATION_SPECS
from transferkit.recipe.draft import draft_values
from transferkit.recipe.phases import OPTIMIZER_SPECS, POLICY_SPECS, RATE_SPECS, OptimizerSpec
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.spec import Spec
from transferkit.recipe.yaml_tree import path_text

PACKAGE = Path(transferkit.__file__).parent
TRAIN = ("head", {"last_stages": 2}, {"from_layer": "a"}, {"pattern": "a"}, "all", {"gradual": 2}, "bias", "norm")
SCHEDULES = ("constant", "cosine", {"step": 3}, "exponential", "plateau")
OPTIMIZERS = ("adam", "adamw", "nadam", "sgd", "rmsprop", "lion")
# Every choice at least once, every value unlike the alternatives below.
RICH = {
    "data": {
        "source": {
            "tfds": "tf_flowers",
            "data_dir": "d",
            "splits": {"train": "train", "validation": "validation", "test": "test"},
        },
        "rename": {"old": "new"},
        "merge": {"one": ["a", "b"]},
        "imbalance": {"effective_number": 0.9},
    },
    "loss": {"focal": 1},
    "model": {"head": {"hidden": [8]}},
    "augment": [
        "random_crop", "flip", {"rotate": 10}, {"translate": 0.1}, {"zoom": 0.1}, {"crop_resize": 0.5},
        {"brightness": 0.1}, {"contrast": 0.1}, {"saturation": 0.1}, {"hue": 10}, "color_jitter", {"noise": 5},
        {"blur": 2}, {"elastic": 4}, {"shear": 10}, {"perspective": 0.1}, "erase", "rand_augment", "mixup", "cutmix",
    ],
    "phases": [
        {
            "name": f"phase {index}",
            "train": train,
            "epochs": 4,
            "learning_rate": 1e-3,
            "schedule": SCHEDULES[index % len(SCHEDULES)],
            "optimizer": OPTIMIZERS[index % len(OPTIMIZERS)],
            "clip_norm": 1,
            "early_stopping": {},
        }
        for index, train in enumerate(TRAIN)
    ],
}  # fmt: skip
TABLE = {"data": {"source": {"csv": "labels.csv", "root": "photos"}}, "loss": "binary_cross_entropy"}
ARCHIVE = {"data": {"source": {"archive": "https://a/b.zip"}}}
ARRAYS = {"data": {"source": {"arrays": "0" * 64}}}
FOLDER = {"data": {"source": {"folder": "photos"}}, "augment": ["flip"]}
# Another value for each key; a whole path goes before a bare key.
ALTERNATIVES = {
    "alpha": 0.7, "amount": 0.03, "augment": False, "backbone": "resnet50", "batch_norm": "train", "batch_size": 7,
    "beta_1": 0.8, "beta_2": 0.9, "brightness": 0.3, "cache": "disk", "clip_norm": 7, "contrast": 0.3, "count": 1,
    "data_dir": "other", "degrees": 7, "direction": "both", "dropout": 0.3, "epochs": 7, "epsilon": 1e-6,
    "evaluate": ["validation"], "every_epochs": 1, "factor": 0.3, "final": 0.1, "first": 0, "hidden": [16, 8],
    "hue_degrees": 7, "image_size": 96, "label_smoothing": 0.1, "layer": "other", "learning_rate": 7e-3, "levels": 7,
    "max_area": 0.3, "max_aspect": 2, "max_megapixels": 7, "max_sigma_px": 7, "min_area": 0.3, "momentum": 0.3,
    "backend": "jax", "cache.precision": "float16", "decay": "all", "ema": 0.9, "every": "10min", "features": "none",
    "folder": "other", "gradient_accumulation_steps": 2, "l2_sp": 0.3, "layer_decay": 0.3, "max_gb": 7,
    "monitor": "val_loss", "name": "other", "nesterov": True, "operations": 3, "path": "other", "patience": 7,
    "pooling": "concat", "precision": "float32", "probability": 0.3, "ramp_epochs": 2, "regex": "other",
    "resize": "stretch", "rho": 0.7, "recompute": True, "saturation": 0.3, "schedule": "cosine", "seed": 7,
    "smoothness_px": 7, "stage_decay": 0.3, "strategy": "single", "strength": 0.7, "strength_px": 7, "test": 0.3,
    "train": "all", "data.source.tfds.splits.train": "other", "data.source.tfds.splits.validation": "other",
    "data.source.tfds.splits.test": "other", "validation": 0.3, "views": 3, "weight_decay": 0.3,
    "weights": "none", "xla": "on", "beta": 0.7, "class_names": ["a", "b"], "one": ["a"], "digest": "1" * 64,
    "old": "other", "inside": "other", "duplicates": "group", "exclude": ["other"],
    "fold": "2/5", "gamma": 3, "group": "other", "group_column": "other", "imbalance": "oversample",
    "keep_classes": ["a", "b"], "label_column": "other", "manifest": "other", "margin": 0.3, "method": "hash",
    "path_column": "other",
    "root": "other", "separator": "|", "sha256": "1" * 64, "split_column": "other", "try_gcs": True,
    "url": "https://a/c.zip", "weight_column": "other",
}  # fmt: skip


@pytest.fixture(autouse=True)
def jax_is_installed(monkeypatch):
    """JAX is an extra; whether a key changes the recipe does not depend on whether this machine has it."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax" or found(name))


def resolve(values):
    return check_draft(draft_values(values, source="test"))


def leaves(data, path=()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """The path and value of everything that is no mapping and no list of mappings."""
    nested = isinstance(data, dict) or (isinstance(data, list) and any(isinstance(item, dict) for item in data))
    if not nested:
        yield path, data
        return
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield from leaves(value, (*path, key))


def kind_of(choice):
    return choice if isinstance(choice, str) else next(iter(choice))


def written_out(recipe):
    return recipe.model_dump(mode="json")


RICH_DATA, FOLDER_DATA = written_out(resolve(RICH)), written_out(resolve(FOLDER))
# A key that every phase has is tried in one of them.
CASES = {
    re.sub(r"\[\d+\]", "[]", path_text(path)): (RICH_DATA, path)
    for path, _ in leaves(RICH_DATA)
    # Its parameters go with it; it is tried by itself.
    if path[-2:] != ("optimizer", "name")
}
CASES["data.source.folder.path"] = (FOLDER_DATA, ("data", "source", "folder", "path"))
for source, values in {"csv": TABLE, "archive": ARCHIVE, "arrays": ARRAYS}.items():
    written = written_out(resolve(values))
    for key in written["data"]["source"][source]:
        CASES[f"data.source.{source}.{key}"] = (written, ("data", "source", source, key))
CASES["data.imbalance"] = (FOLDER_DATA, ("data", "imbalance"))
# The rich recipe has cutmix, which views cannot go with.
CASES["phases[].views"] = (FOLDER_DATA, ("phases", 1, "views"))
JAX_DATA = {**FOLDER_DATA, "runtime": {**FOLDER_DATA["runtime"], "backend": "jax"}}
CASES["runtime.recompute"] = (JAX_DATA, ("runtime", "recompute"))


def test_the_table_of_alternatives_knows_every_key_and_no_other():
    keys = {path[-1] for _, path in CASES.values()}

    assert {re.sub(r".*\.", "", key) for key in ALTERNATIVES} == keys


def test_the_rich_recipe_has_every_choice():
    augmentations = [kind_of(one) for one in RICH_DATA["augment"]]
    policies = [kind_of(phase["train"]) for phase in RICH_DATA["phases"]]
    rates = {kind_of(phase["schedule"]) for phase in RICH_DATA["phases"]}
    optimizers = {phase["optimizer"]["name"] for phase in RICH_DATA["phases"]}

    assert augmentations == [spec.model_fields["kind"].default for spec in AUGMENTATION_SPECS]
    assert policies == [spec.model_fields["kind"].default for spec in POLICY_SPECS]
    assert rates == {spec.model_fields["kind"].default for spec in RATE_SPECS}
    assert optimizers == {spec.model_fields["name"].default for spec in OPTIMIZER_SPECS}


@pytest.mark.parametrize(("data", "path"), CASES.values(), ids=CASES)
def test_changing_a_key_changes_the_resolved_recipe_there_and_nowhere_else(data, path):
    other = ALTERNATIVES.get(path_text(path), ALTERNATIVES[path[-1]])
    changed = copy.deepcopy(data)
    parent = changed
    for part in path[:-1]:
        parent = parent[part]
    assert parent[path[-1]] != other
    parent[path[-1]] = other

    after = resolve(changed)

    new, old = dict(leaves(written_out(after))), dict(leaves(data))
    assert new != old
    # Naming a choice brings its own parameters with it.
    elsewhere = [one for one in {*new, *old} if new.get(one) != old.get(one) and one[: len(path)] != path]
    assert elsewhere == []


@pytest.mark.parametrize("name", ["adamw", "nadam", "sgd", "rmsprop", "lion"])
def test_changing_the_optimizer_changes_the_resolved_recipe(name):
    values = copy.deepcopy(RICH)
    values["phases"][0]["optimizer"] = name

    assert resolve(values).phases[0].optimizer.name == name != resolve(RICH).phases[0].optimizer.name


def specs_below(annotation) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
        for field in annotation.model_fields.values():
            yield from specs_below(field.annotation)
    for inner in get_args(annotation):
        yield from specs_below(inner)


# What judges a recipe or prints it acts on nothing.
JUDGES = ("recipe", "rules.py", "check.py", "planning", "plan.py")
# Keys that are read through something else: the splits of a TFDS source by `getattr` over the names of the splits, and
# the checkpoint's by a property.
READ_AS = {"train": "splits", "validation": "splits", "test": "splits", "every": "span"}


def test_every_key_of_a_recipe_is_acted_on_somewhere():
    files = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in JUDGES]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    loads = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
    # No part of a recipe is a `self` outside its own file.
    read = {node.attr for node in loads if not (isinstance(node.value, ast.Name) and node.value.id == "self")}
    # An optimizer's parameters go to Keras as a whole.
    specs = {spec for spec in specs_below(Recipe) if not issubclass(spec, OptimizerSpec)}

    unread = {
        f"{spec.__name__}.{key}"
        for spec in specs
        for key, field in spec.model_fields.items()
        # With one value as yet there is nothing to ignore.
        if READ_AS.get(key, key) not in read and len(get_args(field.annotation)) != 1
    }

    assert unread == set()
    assert len(specs) > 40
