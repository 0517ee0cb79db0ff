"""Learning rates against numbers worked out by hand."""

import pytest

from transferkit.recipe.phases import RATE_SPECS, Constant, Cosine, Exponential, Plateau, Step
from transferkit.schedule.rates import (
    RATE_SHAPES,
    has_stopped,
    layer_multipliers,
    plateau_drops,
    rate_table,
    stage_multipliers,
)


def table(rates, *, peak=1.0, ramp_epochs=0.0, epochs=4, steps_per_epoch=1):
    return rate_table(rates, peak=peak, ramp_epochs=ramp_epochs, epochs=epochs, steps_per_epoch=steps_per_epoch)


def test_shapes_are_those_a_recipe_may_name():
    assert set(RATE_SHAPES) == {row.model_fields["kind"].default for row in RATE_SPECS}


@pytest.mark.parametrize("rates", [Constant(), Cosine(), Step(every_epochs=1), Exponential(), Plateau()])
@pytest.mark.parametrize("ramp_epochs", [0, 0.3, 1, 2.5, 3])
def test_table_has_one_rate_for_each_step_none_above_the_peak(rates, ramp_epochs):
    found = table(rates, peak=0.2, ramp_epochs=ramp_epochs, epochs=3, steps_per_epoch=7)

    assert len(found) == 21
    assert 0 < min(found) <= max(found) <= 0.2


def test_constant_stays_at_the_peak():
    assert table(Constant(), peak=0.3) == (0.3, 0.3, 0.3, 0.3)


def test_plateau_stays_at_the_peak_as_long_as_nothing_drops_it():
    assert table(Plateau(), peak=0.3) == (0.3, 0.3, 0.3, 0.3)


def test_cosine_falls_by_half_a_period():
    # 1/2 (1 + cos(pi k / 4)) for k = 0 … 3
    assert table(Cosine(), peak=2.0) == pytest.approx((2.0, 1.7071068, 1.0, 0.2928932))


def test_cosine_falls_towards_its_final_share():
    # 0.2 + 0.8 of the values above
    assert table(Cosine(final=0.2)) == pytest.approx((1.0, 0.8828427, 0.6, 0.3171573))


def test_step_multiplies_every_so_many_epochs():
    found = table(Step(every_epochs=2, factor=0.1), epochs=6, steps_per_epoch=2)

    assert found == pytest.approx((1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01))


def test_step_drops_at_the_first_batch_of_its_epoch_also_where_epochs_divide_badly():
    found = table(Step(every_epochs=1, factor=0.5), epochs=8, steps_per_epoch=49)

    assert [found.index(0.5**epoch) for epoch in range(8)] == [49 * epoch for epoch in range(8)]


def test_exponential_is_smooth_over_steps():
    # 0.25^(k / 2)
    assert table(Exponential(factor=0.25), epochs=2, steps_per_epoch=2) == pytest.approx((1, 0.5, 0.25, 0.125))


def test_ramp_rises_linearly_to_the_peak_and_the_shape_starts_there():
    found = table(Cosine(), ramp_epochs=1, epochs=2, steps_per_epoch=4)

    assert found == pytest.approx((0.25, 0.5, 0.75, 1.0, 1.0, 0.8535534, 0.5, 0.1464466))


def test_ramp_may_be_a_part_of_an_epoch():
    found = table(Exponential(factor=0.25), ramp_epochs=0.5, epochs=2, steps_per_epoch=4)

    assert found == pytest.approx((0.5, 1.0, 1.0, 0.7071068, 0.5, 0.3535534, 0.25, 0.1767767))


@pytest.mark.parametrize("rates", [Constant(), Cosine(), Step(every_epochs=1), Exponential(), Plateau()])
def test_ramp_of_all_epochs_only_rises(rates):
    found = table(rates, ramp_epochs=2, epochs=2, steps_per_epoch=2)

    assert found == pytest.approx((0.25, 0.5, 0.75, 1.0))


def test_ramp_shorter_than_a_step_is_none():
    assert table(Constant(), ramp_epochs=0.01, epochs=1, steps_per_epoch=3) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "patience", "drops"),
    [
        ([], 1, 0),
        ([0.5], 1, 0),
        ([0.5, 0.6, 0.7], 1, 0),
        ([0.5, 0.5], 1, 1),
        ([0.5, 0.4, 0.3], 1, 2),
        ([0.5, 0.4, 0.3], 2, 1),
        ([0.5, 0.4, 0.6, 0.6], 2, 0),
        ([0.5, 0.4, 0.6, 0.6, 0.6], 2, 1),
        ([0.5, 0.4, 0.4, 0.4, 0.4], 2, 2),
        ([0.5, 0.4, 0.4, 0.4, 0.51, 0.4], 2, 1),  # waiting starts anew after a drop and after a better one
    ],
)
def test_plateau_drops_after_each_patience_epochs_without_a_better_one(values, patience, drops):
    assert plateau_drops(values, patience=patience, higher_is_better=True) == drops
    assert plateau_drops([-value for value in values], patience=patience, higher_is_better=False) == drops


@pytest.mark.parametrize(
    ("values", "patience", "stopped"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.5], 2, True),
        ([0.5, 0.4, 0.51], 2, False),
        ([0.5, 0.9, 0.6, 0.7, 0.8], 3, True),
        ([0.5, 0.9, 0.6, 0.7], 3, False),
    ],
)
def test_has_stopped_after_patience_epochs_without_a_better_one(values, patience, stopped):
    assert has_stopped(values, patience=patience, higher_is_better=True) is stopped
    assert has_stopped([-value for value in values], patience=patience, higher_is_better=False) is stopped


def test_stage_multipliers_fall_by_the_decay_per_stage_of_distance_from_the_head():
    assert stage_multipliers(3, 0.5) == (0.125, 0.25, 0.5, 1.0)


def test_stage_multipliers_of_decay_one_are_one():
    assert stage_multipliers(2, 1.0) == (1.0, 1.0, 1.0)


def test_layer_multipliers_fall_by_the_decay_per_layer_of_distance_from_the_head():
    # Depth 3 is the layer before the head; depth 0 what comes before the first kernel.
    assert layer_multipliers(3, 0.5) == (0.0625, 0.125, 0.25, 0.5)


def test_layer_multipliers_of_decay_one_are_one():
    assert layer_multipliers(2, 1.0) == (1.0, 1.0, 1.0)
