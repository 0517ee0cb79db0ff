"""Phases resolved to steps, rates and variables."""

import pytest

from transferkit.errors import RecipeError
from transferkit.recipe.phases import PhaseSpec
from transferkit.schedule.schedule import resolve_schedule


def phase(name="one", **settings) -> PhaseSpec:
    return PhaseSpec.model_validate({"name": name, "train": "head", "epochs": 2, "learning_rate": 0.1, **settings})


def resolve(*phases, stages, steps_per_epoch=3, augment=True):
    return resolve_schedule(phases, stages=stages, steps_per_epoch=steps_per_epoch, augment=augment)


def trained_stages(one, stages):
    return {stage.index for stage in stages for weight in stage.weights if weight.path in one.trainable}


def test_phases_count_epochs_over_the_whole_run(stages):
    schedule = resolve(phase(epochs=2), phase("two", epochs=5), phase("three", epochs=1), stages=stages)

    assert [one.first_epoch for one in schedule] == [0, 2, 7]
    assert [one.index for one in schedule] == [0, 1, 2]
    assert [one.num_steps for one in schedule] == [6, 15, 3]
    assert [len(one.rates) for one in schedule] == [6, 15, 3]


def test_phase_augments_only_where_the_recipe_and_the_phase_do(stages):
    both, off = phase(), phase("two", augment=False)

    assert [one.augment for one in resolve(both, off, stages=stages)] == [True, False]
    assert [one.augment for one in resolve(both, off, stages=stages, augment=False)] == [False, False]


def test_cut_is_the_lowest_stage_with_a_variable_that_trains(stages):
    schedule = resolve(phase(), phase(train={"last_stages": 1}), phase(train="all"), stages=stages)

    assert [one.cut for one in schedule] == [2, 1, 0]


def test_cut_stays_above_a_stage_whose_only_chosen_variables_are_frozen_batch_norm(stages):
    (one,) = resolve(phase(train={"from_layer": "norm_a"}, batch_norm="frozen"), stages=stages)

    assert one.cut == 1


def test_multipliers_give_each_trained_stage_its_share_and_leave_the_head_out(stages):
    (one,) = resolve(phase(train="all", stage_decay=0.5, batch_norm="affine"), stages=stages)

    shares = {path.split("/")[0]: share for path, share in one.multipliers.items()}
    assert shares == {"conv_a": 0.25, "norm_a": 0.25, "conv_b": 0.5, "norm_b": 0.5}
    assert set(one.multipliers) == {path for path in one.trainable if not path.startswith(("head", "logits"))}


def test_multipliers_of_frozen_stages_are_not_there(stages):
    (one,) = resolve(phase(train={"last_stages": 1}, stage_decay=0.5), stages=stages)

    assert set(one.multipliers) == {"conv_b/kernel", "conv_b/bias"}


def shares_by_layer(one):
    return {path.split("/")[0]: share for path, share in one.multipliers.items()}


def test_multipliers_fall_with_each_layer_batch_norm_counting_with_its_convolution(deeper_stages):
    (one,) = resolve(phase(train="all", layer_decay=0.5, batch_norm="affine"), stages=deeper_stages)

    assert shares_by_layer(one) == {
        "conv_a": 1 / 16, "norm_a": 1 / 16, "conv_b": 1 / 8, "norm_b": 1 / 8, "conv_c": 1 / 4, "scale_c": 1 / 4,
        "conv_d": 1 / 2, "norm_d": 1 / 2,
    }  # fmt: skip


def test_multipliers_of_stage_and_layer_decay_are_multiplied(deeper_stages):
    settings = {"train": {"last_stages": 1}, "stage_decay": 0.25, "layer_decay": 0.5}

    (one,) = resolve(phase(**settings), stages=deeper_stages)

    assert shares_by_layer(one) == {"conv_b": 1 / 32, "conv_c": 1 / 16, "scale_c": 1 / 16, "conv_d": 1 / 8}


def test_multipliers_of_a_phase_of_one_rate_are_none(stages):
    (one,) = resolve(phase(train="all"), stages=stages)

    assert one.multipliers == {}


@pytest.mark.parametrize(
    ("settings", "decayed"),
    [
        ({}, {"conv_b/kernel", "head_hidden_1/kernel", "logits/kernel"}),
        (
            {"decay": "all"},
            {f"{layer}/{name}" for layer in ("conv_b", "head_hidden_1", "logits") for name in ("kernel", "bias")},
        ),
        ({"decay": "all", "weight_decay": 0}, set()),
        ({"weight_decay": 0}, set()),
    ],
    ids=["kernels", "all", "all of none", "none"],
)
def test_decayed_is_what_weight_decay_shrinks(stages, settings, decayed):
    (one,) = resolve(phase(train={"last_stages": 1}, **settings), stages=stages)

    assert one.decayed == decayed


def test_pulled_is_what_trains_in_the_backbone_where_the_phase_has_l2_sp(stages):
    head, without, pulling = (
        phase(l2_sp=0.1),
        phase(train={"last_stages": 1}),
        phase(train={"last_stages": 1}, l2_sp=0.1, batch_norm="affine"),
    )

    schedule = resolve(head, without, pulling, stages=stages)

    pulled = {"conv_b/kernel", "conv_b/bias", "norm_b/gamma", "norm_b/beta"}
    assert [one.pulled for one in schedule] == [set(), set(), pulled]


def test_what_is_pulled_to_its_start_does_not_decay_besides(stages):
    (one,) = resolve(phase(train={"last_stages": 1}, l2_sp=0.1), stages=stages)

    assert one.decayed == {"head_hidden_1/kernel", "logits/kernel"}


def test_views_stay_where_a_stage_is_frozen(stages):
    (one,) = resolve(phase(train={"last_stages": 1}, views=3), stages=stages)

    assert one.spec.views == 3


def test_views_end_with_the_last_frozen_stage_of_a_gradual_phase(stages):
    parts = resolve(phase(train={"gradual": {"every_epochs": 1, "first": 0}}, epochs=4, views=3), stages=stages)

    assert [(part.cut, part.spec.views) for part in parts] == [(2, 3), (1, 3), (0, None)]


def test_views_of_a_phase_that_turns_out_to_freeze_no_stage_are_refused_with_their_key_path(stages):
    with pytest.raises(RecipeError) as caught:
        resolve(phase(), phase(train={"pattern": "conv_a"}, views=3), stages=stages)

    (problem,) = caught.value.problems
    assert str(problem) == (
        "phases[1].views: 3 needs a frozen stage, whose outputs are stored, "
        "but this phase trains something in the first stage"
    )


@pytest.mark.parametrize(
    ("first", "trained", "epochs"),
    [
        (0, [{2}, {1, 2}, {0, 1, 2}], [2, 2, 3]),
        (1, [{1, 2}, {0, 1, 2}], [2, 5]),
        (2, [{0, 1, 2}], [7]),
    ],
)
def test_gradual_frees_one_more_stage_at_a_time_and_spends_the_rest_on_all(stages, first, trained, epochs):
    gradual = phase(train={"gradual": {"every_epochs": 2, "first": first}}, epochs=7)

    schedule = resolve(gradual, stages=stages)

    assert [trained_stages(one, stages) for one in schedule] == trained
    assert [one.epochs for one in schedule] == epochs
    assert [one.name for one in schedule] == [f"one {number + 1}" for number in range(len(epochs))]


def test_gradual_ends_where_its_epochs_do(stages):
    gradual = phase(train={"gradual": {"every_epochs": 2, "first": 0}}, epochs=3)

    schedule = resolve(gradual, stages=stages)

    assert [one.epochs for one in schedule] == [2, 1]
    assert trained_stages(schedule[-1], stages) == {1, 2}


def test_gradual_parts_share_one_curve_of_rates(stages):
    settings = {"epochs": 5, "schedule": "cosine", "ramp_epochs": 1.5}

    parts = resolve(phase(train={"gradual": 2}, **settings), stages=stages)
    (whole,) = resolve(phase(train="all", **settings), stages=stages)

    assert sum((part.rates for part in parts), ()) == whole.rates
    assert [part.first_epoch for part in parts] == [0, 2]


def test_phase_after_a_gradual_one_counts_on(stages):
    schedule = resolve(phase(train={"gradual": 1}, epochs=4), phase("two", epochs=2), stages=stages)

    assert [one.name for one in schedule] == ["one 1", "one 2", "two"]
    assert [one.index for one in schedule] == [0, 1, 2]
    assert [one.first_epoch for one in schedule] == [0, 1, 4]


def test_unknown_layers_of_all_phases_are_refused_at_once_with_their_key_paths(stages):
    faulty = phase(train={"from_layer": "conv_x"}), phase(), phase(train={"pattern": "conv_y"})

    with pytest.raises(RecipeError) as caught:
        resolve(*faulty, stages=stages)

    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["phases[0].train.from_layer", "phases[2].train.pattern"]
    assert str(caught.value).startswith("recipe: 2 problems\n  phases[0].train.from_layer: 'conv_x' is not a layer")
