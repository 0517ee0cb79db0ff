"""The specs: short forms, strictness, and names that are the same as in the tables behind them."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

import transferkit
from transferkit.recipe.augment import AUGMENTATION_SPECS, Flip, Rotate
from transferkit.recipe.data import DataSpec
from transferkit.recipe.imbalance import IMBALANCE_SPECS
from transferkit.recipe.loss import LOSS_SPECS
from transferkit.recipe.phases import (
    OPTIMIZER_SPECS,
    POLICY_SPECS,
    RATE_SPECS,
    AdamW,
    Constant,
    Cosine,
    Gradual,
    Head,
    LastStages,
    PhaseSpec,
    Sgd,
)
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.source import SOURCE_SPECS, FolderSource, SampleSource, TfdsSource
from transferkit.schedule.policies import FREEZE_POLICIES
from transferkit.schedule.rates import RATE_SHAPES

PACKAGE = Path(transferkit.__file__).parent
PHASE = {"name": "p", "train": "head", "epochs": 4, "learning_rate": 1e-3}


def phase(**changes):
    return PhaseSpec.model_validate({**PHASE, **changes})


def source(given):
    return DataSpec.model_validate({"source": given}).source


def kinds(specs):
    return {spec.model_fields["kind"].default for spec in specs}


def keys_of_table(file, name):
    """The keys of a module's table, read without importing the module and the Keras behind it."""
    tree = ast.parse((PACKAGE / file).read_text())
    table = next(
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name
    )
    return {ast.literal_eval(key) for key in table.keys}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("head", Head()),
        ({"head": None}, Head()),
        ({"head": {}}, Head()),
        ({"last_stages": 2}, LastStages(count=2)),
        ({"last_stages": {"count": 2}}, LastStages(count=2)),
        ({"gradual": 2}, Gradual(every_epochs=2, first=1)),
        ({"gradual": 2, "first": 0}, Gradual(every_epochs=2, first=0)),
        ({"gradual": {"every_epochs": 2, "first": 0}}, Gradual(every_epochs=2, first=0)),
        (LastStages(count=3), LastStages(count=3)),
    ],
)
def test_a_choice_may_be_written_in_every_short_form(given, meant):
    assert phase(train=given).train == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"folder": "photos"}, FolderSource(path="photos")),
        ("sample", SampleSource(name="clipart")),
        ({"tfds": "tf_flowers", "data_dir": "d"}, TfdsSource(name="tf_flowers", data_dir="d")),
        ({"tfds": {"name": "tf_flowers"}}, TfdsSource(name="tf_flowers")),
    ],
)
def test_a_source_may_be_written_in_every_short_form(given, meant):
    assert source(given) == meant


def test_an_optimizer_is_a_name_or_a_mapping_with_one():
    assert phase(optimizer="sgd").optimizer == Sgd()
    assert phase(optimizer={"name": "sgd", "momentum": 0.5}).optimizer == Sgd(momentum=0.5)
    assert phase().optimizer == AdamW()


def test_augmentations_keep_their_order():
    recipe = Recipe.model_validate({"data": {"source": "sample"}, "augment": [{"rotate": 3}, "flip", {"rotate": 5}]})

    assert recipe.augment == (Rotate(degrees=3), Flip(), Rotate(degrees=5))


def test_a_recipe_needs_no_more_than_a_source():
    recipe = Recipe.model_validate({"data": {"source": "sample"}})

    assert [one.train.kind for one in recipe.phases] == ["head", "last_stages"]
    assert isinstance(recipe.phases[0].schedule, Constant)
    assert isinstance(recipe.phases[1].schedule, Cosine)
    assert recipe.evaluate == ("validation", "test")


def test_a_recipe_cannot_be_changed():
    recipe = Recipe.model_validate({"data": {"source": "sample"}})

    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        recipe.phases[0].train.kind = "all"


@pytest.mark.parametrize(
    "specs",
    [POLICY_SPECS, RATE_SPECS, SOURCE_SPECS, IMBALANCE_SPECS, LOSS_SPECS],
    ids=["policies", "rates", "sources", "imbalance", "losses"],
)
def test_no_parameter_is_called_like_a_choice_beside_which_it_may_stand(specs):
    parameters = {name for spec in specs for name in spec.parameters()[1:]}

    assert parameters & kinds(specs) == set()


def test_a_recipe_can_be_hashed_so_nothing_in_it_can_change():
    data = {"source": "sample", "rename": {"a": "b"}, "merge": {"c": ["d", "e"]}}
    recipe = Recipe.model_validate({"data": data, "model": {"head": {"hidden": [8]}}})

    assert isinstance(hash(recipe), int)
    with pytest.raises(TypeError, match="does not change"):
        recipe.data.rename["a"] = "c"


@pytest.mark.parametrize("policy", ["bias", "norm"])
def test_batch_norm_s_own_weights_train_when_they_are_what_trains(policy):
    assert phase(train=policy).batch_norm == "affine"
    assert phase(train=policy, batch_norm="train").batch_norm == "train"
    assert phase(train="all").batch_norm == "frozen"


def test_a_ramp_may_take_the_whole_phase_and_part_of_an_epoch():
    assert phase(ramp_epochs=4).ramp_epochs == 4
    assert phase(ramp_epochs=0.25).ramp_epochs == 0.25
    with pytest.raises(ValidationError):
        phase(ramp_epochs=4.5)


def test_freeze_policies_and_their_specs_have_the_same_names():
    # `gradual` unfolds into phases of `last_stages`.
    assert set(FREEZE_POLICIES) | {"gradual"} == kinds(POLICY_SPECS)


def test_rate_shapes_and_their_specs_have_the_same_names():
    assert set(RATE_SHAPES) == kinds(RATE_SPECS)


def test_augmentations_and_their_specs_have_the_same_names():
    assert keys_of_table("model/augment.py", "AUGMENTATIONS") == kinds(AUGMENTATION_SPECS)


def test_optimizers_and_their_specs_have_the_same_names():
    assert keys_of_table("train/optimizer.py", "OPTIMIZERS") == {
        spec.model_fields["name"].default for spec in OPTIMIZER_SPECS
    }
