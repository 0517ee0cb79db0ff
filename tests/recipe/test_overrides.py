from pathlib import Path

import numpy as np
import pytest

from transferkit.recipe.overrides import apply_changes, apply_overrides, parse_path, plain_value
from transferkit.recipe.yaml_tree import parse_yaml


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("seed", ("seed",)),
        ("model.head.dropout", ("model", "head", "dropout")),
        ("phases[0].epochs", ("phases", 0, "epochs")),
        ("a[1][22].b", ("a", 1, 22, "b")),
        ("[0]", (0,)),
    ],
)
def test_parse_path_splits_keys_and_entries(text, path):
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["", ".a", "a..b", "a.", "a[", "a[-1]", "a[x]", "a]", "a[]", "a[1.5]"])
def test_parse_path_refuses_what_is_no_path(text):
    assert parse_path(text) is None


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("seed=3", ("seed",), 3),
        ("phases[0].learning_rate=1e-4", ("phases", 0, "learning_rate"), 1e-4),
        ("name=a=b", ("name",), "a=b"),
        ("name='3'", ("name",), "3"),
        ("augment=[{rotate: 5}, flip]", ("augment",), [{"rotate": 5}, "flip"]),
        ("data.image_size=", ("data", "image_size"), None),
        (" seed = 3 ", ("seed",), 3),
    ],
)
def test_a_change_writes_its_yaml_value(base, change, path, value):
    tree = parse_yaml(base)

    apply_changes(tree, [change])

    node = tree.data
    for part in path:
        node = node[part]
    assert tree.problems == []
    assert node == value
    assert tree.where_of(path) == "--set"


def test_changes_are_applied_in_order(base):
    tree = parse_yaml(base)

    apply_changes(tree, ["model={backbone: vgg16}", "model.backbone=vgg19", "model.head.dropout=0.5"])

    assert tree.data["model"] == {"backbone": "vgg19", "head": {"dropout": 0.5}}


def test_mappings_on_the_way_are_made_and_found_at_the_change():
    tree = parse_yaml("seed: 0\nmodel:\n")

    apply_changes(tree, ["model.head.dropout=0.5", "runtime.precision=float32"])

    assert tree.data == {"seed": 0, "model": {"head": {"dropout": 0.5}}, "runtime": {"precision": "float32"}}
    assert {tree.where_of(path) for path in [("model",), ("model", "head"), ("runtime",)]} == {"--set"}


def test_a_change_forgets_the_lines_of_what_it_replaces(base):
    tree = parse_yaml(base)

    apply_changes(tree, ["phases=[{epochs: 1}]"])

    assert tree.where_of(("phases", 0, "epochs")) == "--set"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("epochs", "--set: 'epochs' must look like KEY=VALUE, such as phases[0].epochs=3"),
        ("=3", "--set: '=3' must look like KEY=VALUE, such as phases[0].epochs=3"),
        ("phases[-1].epochs=3", "--set: 'phases[-1].epochs=3' must look like KEY=VALUE, such as phases[0].epochs=3"),
        ("name=[", "--set, name: not valid YAML: it ends before a bracket is closed"),
        ("model={a: 1, a: 2}", "--set, model: 'a' stands here twice"),
        ("model={a: [!x 1]}", "--set, model.a[0]: '!x' is a YAML tag, which recipes do not use; write the plain value"),
        ("phases[2].epochs=3", "--set, phases[2].epochs: phases has 2 entries, the last is phases[1]"),
        ("phases.epochs=3", "--set, phases.epochs: phases is a list; say which entry, as in phases[0].epochs"),
        ("model[0]=3", "--set, model[0]: model is not a list"),
        ("[0]=3", "--set, [0]: the recipe is not a list"),
        ("seed.a=3", "--set, seed.a: seed is 0, which has no keys; set seed as a whole"),
        ("evaluate[0]=test", "--set, evaluate[0]: evaluate is not written in this recipe; set evaluate as a whole"),
        ("x.y[0]=test", "--set, x.y[0]: x.y is not written in this recipe; set x.y as a whole"),
    ],
)
def test_a_change_that_cannot_be_made_is_told_and_changes_nothing(base, change, problem):
    tree = parse_yaml(base)

    apply_changes(tree, [change])

    assert [str(one) for one in tree.problems] == [problem]
    assert tree.data == parse_yaml(base).data


def test_a_path_of_a_thousand_steps_is_told():
    tree = parse_yaml("a: 1")

    apply_changes(tree, ["b" + ".b" * 1000 + "=1"])

    assert str(tree.problems[0]).endswith("no key lies that deep")


def test_a_broken_change_of_an_empty_list_says_so():
    tree = parse_yaml("augment: []")

    apply_changes(tree, ["augment[0]=flip"])

    assert str(tree.problems[0]) == "--set, augment[0]: augment has 0 entries"


def test_python_overrides_go_down_by_double_underscore(base):
    tree = parse_yaml(base)

    apply_overrides(tree, {"phases__1__epochs": 3, "model__backbone": "vgg16"})

    assert tree.data["phases"][1]["epochs"] == 3
    assert tree.data["model"]["backbone"] == "vgg16"
    assert tree.where_of(("phases", 1, "epochs")) == "phases__1__epochs="


def test_python_overrides_with_odd_digits_are_keys():
    tree = parse_yaml("a: 1")

    apply_overrides(tree, {"a²": 2})

    assert tree.data == {"a": 1, "a²": 2}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, 2), [1, 2]),
        ({"a": (Path("x") / "y",)}, {"a": ["x/y"]}),
        ({3: 1}, {"3": 1}),
        (True, True),
        (None, None),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_python_values_become_what_yaml_gives(value, plain):
    found = plain_value(value)

    assert found == plain
    assert type(found) is type(plain)


def test_a_python_value_that_holds_itself_ends():
    value: list = []
    value.append(value)

    found = plain_value(value)

    for _ in range(31):
        found = found[0]
    assert found == "…"
