"""What trains under each policy, on a network written down by hand."""

import pytest

from transferkit.errors import RecipeError
from transferkit.recipe import phases as spec
from transferkit.recipe.phases import POLICY_SPECS, PhaseSpec
from transferkit.schedule.policies import FREEZE_POLICIES, backbone_paths, decayed_paths, lowest_stage, trainable_paths

HEAD = {"head_hidden_1/kernel", "head_hidden_1/bias", "logits/kernel", "logits/bias"}
CONV_A, CONV_B = {"conv_a/kernel", "conv_a/bias"}, {"conv_b/kernel", "conv_b/bias"}
NORM_A, NORM_B = {"norm_a/gamma", "norm_a/beta"}, {"norm_b/gamma", "norm_b/beta"}
STATISTICS = {f"norm_{stage}/moving_{name}" for stage in "ab" for name in ("mean", "variance")}


def test_policies_are_those_a_recipe_may_name_except_gradual():
    named = {row.model_fields["kind"].default for row in POLICY_SPECS}

    assert set(FREEZE_POLICIES) == named - {"gradual"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (spec.Head(), HEAD),
        (spec.LastStages(count=1), HEAD | CONV_B | NORM_B),
        (spec.LastStages(count=2), HEAD | CONV_B | NORM_B | CONV_A | NORM_A),
        (spec.LastStages(count=9), HEAD | CONV_B | NORM_B | CONV_A | NORM_A),
        (spec.FromLayer(layer="norm_a"), HEAD | NORM_A | CONV_B | NORM_B),
        (spec.FromLayer(layer="relu_a"), HEAD | CONV_B | NORM_B),
        (spec.FromLayer(layer="add_b"), HEAD),
        (spec.FromLayer(layer="image"), HEAD | CONV_A | NORM_A | CONV_B | NORM_B),
        (spec.Pattern(regex="conv"), HEAD | CONV_A | CONV_B),
        (spec.Pattern(regex="^norm_b$"), HEAD | NORM_B),
        (spec.Everything(), HEAD | CONV_A | NORM_A | CONV_B | NORM_B),
        (spec.Bias(), HEAD | {"conv_a/bias", "norm_a/beta", "conv_b/bias", "norm_b/beta"}),
        (spec.Norm(), HEAD | NORM_A | NORM_B),
    ],
    ids=lambda value: repr(value) if not isinstance(value, set) else "",
)
def test_policy_gives_exactly_its_variables(stages, policy, expected):
    assert trainable_paths(policy, stages, "train") == expected


def test_from_layer_trains_the_whole_head_even_where_it_names_the_head_s_last_layer(stages):
    assert trainable_paths(spec.FromLayer(layer="logits"), stages, "train") == HEAD


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
@pytest.mark.parametrize(
    "policy",
    [spec.Everything(), spec.LastStages(count=1), spec.Pattern(regex="."), spec.FromLayer(layer="conv_a"), spec.Bias()],
    ids=lambda policy: policy.kind,
)
def test_batch_norm_statistics_never_train_by_gradient(stages, policy, batch_norm):
    assert not trainable_paths(policy, stages, batch_norm) & STATISTICS


@pytest.mark.parametrize(
    ("batch_norm", "expected"),
    [
        ("frozen", HEAD | CONV_A | CONV_B),
        ("affine", HEAD | CONV_A | CONV_B | NORM_A | NORM_B),
        ("train", HEAD | CONV_A | CONV_B | NORM_A | NORM_B),
    ],
)
def test_batch_norm_mode_decides_about_gamma_and_beta(stages, batch_norm, expected):
    assert trainable_paths(spec.Everything(), stages, batch_norm) == expected


@pytest.mark.parametrize("train", ["bias", "norm"])
def test_policies_of_batch_norm_s_own_variables_imply_affine(train):
    phase = PhaseSpec.model_validate({"name": "one", "train": train, "epochs": 1, "learning_rate": 0.1})

    assert phase.batch_norm == "affine"


def test_other_policies_leave_batch_norm_frozen():
    phase = PhaseSpec.model_validate({"name": "one", "train": "all", "epochs": 1, "learning_rate": 0.1})

    assert phase.batch_norm == "frozen"


def test_unknown_layer_is_refused_with_all_layers_of_a_small_network_and_the_nearest(stages):
    with pytest.raises(RecipeError) as caught:
        trainable_paths(spec.FromLayer(layer="conv_bb"), stages, "frozen")

    (problem,) = caught.value.problems
    assert problem.guess == "conv_b"
    assert "conv_a, norm_a" in str(caught.value)


def test_unknown_layer_of_a_large_network_is_refused_with_near_names_only(many_layers):
    with pytest.raises(RecipeError) as caught:
        trainable_paths(spec.FromLayer(layer="block7_conf"), many_layers, "frozen")

    text = str(caught.value)
    assert "'block7_conf' is not a layer of this backbone" in text
    assert "block7_conv" in text
    assert "block31_conv" not in text


def test_pattern_that_finds_nothing_is_refused_with_the_layers_that_have_weights(stages):
    with pytest.raises(RecipeError) as caught:
        trainable_paths(spec.Pattern(regex="conv_c"), stages, "frozen")

    text = str(caught.value)
    assert "'conv_c' finds no layer with weights" in text
    assert "conv_a, norm_a, conv_b, norm_b" in text
    assert "relu_a" not in text


def test_pattern_for_the_head_alone_is_refused_since_the_head_always_trains(stages):
    with pytest.raises(RecipeError, match="finds no layer"):
        trainable_paths(spec.Pattern(regex="^logits$"), stages, "frozen")


def test_pattern_of_frozen_batch_norm_only_is_refused_with_the_way_out(stages):
    with pytest.raises(RecipeError, match="batch_norm: affine"):
        trainable_paths(spec.Pattern(regex="^norm"), stages, "frozen")


def test_norm_without_batch_norm_is_refused(stages_without_norm):
    with pytest.raises(RecipeError, match="no batch norm"):
        trainable_paths(spec.Norm(), stages_without_norm, "affine")


@pytest.mark.parametrize(
    ("policy", "cut"),
    [
        (spec.Head(), 2),
        (spec.LastStages(count=1), 1),
        (spec.Everything(), 0),
        (spec.FromLayer(layer="relu_a"), 1),  # the rest of stage 0 has no weights
        (spec.Pattern(regex="conv_b"), 1),
        (spec.Bias(), 0),
    ],
    ids=lambda value: value.kind if isinstance(value, spec.Choice) else "",
)
def test_lowest_stage_is_the_first_with_a_variable_that_trains(stages, policy, cut):
    assert lowest_stage(trainable_paths(policy, stages, "affine"), stages) == cut


def test_decayed_kernels_are_those_that_train_and_have_more_than_one_dimension(deeper_stages):
    trainable = trainable_paths(spec.LastStages(count=1), deeper_stages, "affine")
    assert {"conv_b/bias", "norm_b/gamma", "norm_b/beta", "scale_c/scale"} < trainable

    decayed = decayed_paths("kernels", trainable, deeper_stages)

    assert decayed == {"conv_b/kernel", "conv_c/kernel", "conv_d/kernel", "logits/kernel"}


def test_decayed_of_all_is_everything_that_trains(deeper_stages):
    trainable = trainable_paths(spec.LastStages(count=1), deeper_stages, "affine")

    assert decayed_paths("all", trainable, deeper_stages) == trainable


def test_backbone_paths_are_what_trains_without_the_head(stages):
    trainable = trainable_paths(spec.LastStages(count=1), stages, "frozen")

    assert backbone_paths(trainable, stages) == CONV_B
    assert backbone_paths(trainable_paths(spec.Head(), stages, "frozen"), stages) == set()
