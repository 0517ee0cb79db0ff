"""A recipe written out is complete, readable, and loads to the same recipe."""

import pytest

from transferkit.check import check_draft, load_recipe
from transferkit.recipe.augment import AUGMENTATION_SPECS
from transferkit.recipe.draft import draft_tree, draft_values
from transferkit.recipe.dump import recipe_to_yaml
from transferkit.recipe.phases import OPTIMIZER_SPECS, POLICY_SPECS, RATE_SPECS
from transferkit.recipe.shipped import shipped_recipes
from transferkit.recipe.yaml_tree import parse_yaml

# A value for each parameter that has no default.
REQUIRED = {
    "rotate": 10, "translate": 0.1, "zoom": 0.1, "crop_resize": 0.5, "brightness": 0.1, "contrast": 0.1,
    "saturation": 0.1, "hue": 10, "noise": 5, "blur": 2, "elastic": 4, "shear": 10, "perspective": 0.1,
    "last_stages": 2, "from_layer": "add_2", "pattern": r"^block[45]_", "gradual": 3, "step": 2,
}  # fmt: skip
# Texts that mean something else without quotes, or that fold, indent or end a scalar.
AWKWARD_TEXTS = (
    "null", "true", "yes", "3", "1e-3", "0x1F", "1_000", "2024-01-01", "<<", "=", "~", "", " ", " a ", "a: b", "# a",
    "a #b", "- a", "[a", "{a", "*a", "&a", "!a", "%a", "@a", "'", '"', "\\", "a\nb", "a\n", "\ta", "é", "日本", "\x07",
    "\u2028", "x " * 200, "x" * 500,
)  # fmt: skip


def written(choice):
    return {choice: REQUIRED[choice]} if choice in REQUIRED else choice


def kinds(specs):
    return [spec.model_fields["kind"].default for spec in specs]


VARIANTS = {
    **{f"augment {name}": {"augment": [written(name), "flip"]} for name in kinds(AUGMENTATION_SPECS)},
    **{f"train {name}": {"train": written(name)} for name in kinds(POLICY_SPECS)},
    **{f"schedule {name}": {"schedule": written(name)} for name in kinds(RATE_SPECS)},
    **{
        f"optimizer {name}": {"optimizer": name}
        for name in (spec.model_fields["name"].default for spec in OPTIMIZER_SPECS)
    },
    **{
        f"source {source}": {"source": source}
        for source in ("sample", "folder photos", "tfds tf_flowers", "tfds a/b:1.0.0")
    },
    "tfds splits": {"source": {"tfds": "a", "splits": {"train": "train[:40%]", "test": "test"}, "data_dir": "d"}},
    "csv": {"source": {"csv": "a.csv", "root": "b", "separator": "|"}, "loss": "binary_cross_entropy"},
    "archive": {"source": {"archive": "https://a/b.zip", "sha256": "0" * 64, "inside": "c"}},
    "loss": {"loss": {"cross_entropy": {"label_smoothing": 0.1}}},
    "focal": {"loss": {"focal": {"gamma": 1.5}}},
    "hidden layers": {"model": {"head": {"hidden": [256, 64], "pooling": "concat"}, "weights": "none"}},
    "small numbers": {"learning_rate": 1e-300, "weight_decay": 5e-324, "clip_norm": 1 / 3},
    "early stopping": {"early_stopping": {"patience": 5}},
    "no augmentation": {"augment": []},
    "one split": {"evaluate": ["validation"]},
    "regularised": {"decay": "all", "l2_sp": 1e-2, "layer_decay": 0.9, "ema": 0.999},
    "views of pictures": {"augment": ["flip"], "views": 4},
    **{f"every {span}": {"checkpoint": {"every": span}} for span in ("10min", "90 s", "2h", "1 step", "3 epochs")},
    "cache": {"cache": {"features": "none", "precision": "float16", "max_gb": 0.5, "folder": "kept/here"}},
    **{
        f"runtime {strategy}": {"runtime": {"strategy": strategy, "backend": backend, "xla": xla}}
        for strategy, backend, xla in (
            ("single", "tensorflow", "off"),
            ("mirrored", "tensorflow", "off"),
            ("multi_worker", "tensorflow", "auto"),
            ("data_parallel", "jax", "on"),
            ("tpu", "jax", "auto"),
        )
    },
    "saved memory": {"runtime": {"backend": "jax", "gradient_accumulation_steps": 4, "recompute": True}},
}


TOP_LEVEL = ("augment", "loss", "model", "evaluate", "runtime", "cache", "checkpoint")


def recipe_of(variant):
    """A recipe with `variant` at the top level, in `data`, or in its only phase, wherever the key belongs."""
    values = {
        "data": {"source": "sample"},
        "phases": [{"name": "p", "train": "head", "epochs": 3, "learning_rate": 1e-3}],
    }
    for key, value in variant.items():
        if key == "source":
            kind, _, name = value.partition(" ") if isinstance(value, str) else ("", "", "")
            values["data"]["source"] = value if not kind else {kind: name} if name else kind
        elif key in TOP_LEVEL:
            values[key] = value
        else:
            values["phases"][0][key] = value
    return check_draft(draft_values(values, source="variant"))


def reload(text):
    return check_draft(draft_tree(parse_yaml(text), source="dump"))


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_a_shipped_recipe_written_out_loads_to_the_same_recipe(path):
    recipe = load_recipe(path)

    assert reload(recipe_to_yaml(recipe)) == recipe


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_choice_written_out_loads_to_the_same_recipe(variant):
    recipe = recipe_of(variant)

    assert reload(recipe_to_yaml(recipe)) == recipe


def test_what_is_written_out_is_written_out_the_same_again():
    text = recipe_to_yaml(load_recipe("quickstart"))

    assert recipe_to_yaml(reload(text)) == text


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_awkward_text_survives(text):
    recipe = recipe_of({"train": {"from_layer": text}})

    again = reload(recipe_to_yaml(recipe))

    assert again.phases[0].train.layer == text


def test_every_default_is_written_out():
    data = parse_yaml(recipe_to_yaml(recipe_of({}))).data

    assert set(data) == {
        "name", "seed", "data", "model", "augment", "loss", "phases", "monitor", "evaluate", "runtime", "cache",
        "checkpoint",
    }  # fmt: skip
    assert data["data"]["image_size"] == 224
    assert data["model"] == {
        "backbone": "efficientnet_lite0",
        "weights": "imagenet",
        "head": {"pooling": "avg", "hidden": [], "dropout": 0.2, "weight_decay": 0.0},
    }
    assert data["loss"] == {"cross_entropy": {"label_smoothing": 0.0}}
    assert data["runtime"] == {
        "backend": "tensorflow",
        "strategy": "auto",
        "precision": "auto",
        "xla": "auto",
        "gradient_accumulation_steps": 1,
        "recompute": False,
    }
    assert data["cache"] == {"features": "auto", "precision": "float32", "max_gb": 20.0, "folder": None}
    assert data["checkpoint"] == {"every": "1 epoch"}
    assert data["phases"][0]["train"] == "head"
    assert data["phases"][0]["optimizer"] == {"name": "adamw", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


def test_what_is_not_set_is_written_as_null():
    text = recipe_to_yaml(recipe_of({}))

    assert "    clip_norm: null\n" in text
    assert "    early_stopping: null\n" in text
    assert not any(line.rstrip() != line for line in text.splitlines())


def test_a_recipe_is_written_in_the_order_of_its_sections_without_anchors():
    text = recipe_to_yaml(load_recipe("quickstart"))
    tops = [line.partition(":")[0] for line in text.splitlines() if line[0] not in " -"]

    assert tops == [
        "name", "seed", "data", "model", "augment", "loss", "phases", "monitor", "evaluate", "runtime", "cache",
        "checkpoint",
    ]  # fmt: skip
    assert "&" not in text
