"""Copies of weights, to go back to."""

import numpy as np
import pytest

from transferkit.train.copies import WeightCopies

pytestmark = pytest.mark.model


@pytest.fixture
def variables():
    import keras

    return {f"v{value}": keras.Variable(np.full(2, float(value))) for value in range(3)}


def add(variables, amount) -> None:
    for variable in variables:
        variable.assign(variable + amount)


def values(variables) -> list[float]:
    return [float(variable.numpy()[0]) for variable in variables.values()]


def test_copy_brings_back_what_was_there(variables):
    copies = WeightCopies()
    copies.watch(variables)
    taken = copies.take()
    add(variables.values(), 10.0)

    copies.put_back(taken)

    assert values(variables) == [0, 1, 2]


def test_copy_of_fewer_variables_brings_back_the_start_of_those_watched_later(variables):
    first, second = variables["v0"], variables["v1"]
    copies = WeightCopies()
    copies.watch({"v0": first})
    add([first], 10.0)
    taken = copies.take()
    copies.watch({"v0": first, "v1": second})
    add([first, second], 100.0)

    copies.put_back(taken)

    assert values(variables) == [10, 1, 2]


def test_empty_copy_stands_for_the_start(variables):
    copies = WeightCopies()
    copies.watch(variables)
    add(variables.values(), 10.0)

    copies.put_back({})

    assert values(variables) == [0, 1, 2]


def test_variables_that_nobody_watches_are_left_alone(variables):
    copies = WeightCopies()
    copies.watch({"v0": variables["v0"]})
    taken = copies.take()
    add([variables["v1"]], 10.0)

    copies.put_back(taken)

    assert values(variables) == [0, 11, 2]


def test_start_is_from_before_the_first_phase_that_moves_a_variable(variables):
    copies = WeightCopies()
    copies.watch({"v0": variables["v0"]})
    add(variables.values(), 10.0)

    copies.watch(variables)

    assert {path: one[0] for path, one in copies.start.items()} == {"v0": 0, "v1": 11, "v2": 12}


def test_copy_stays_as_it_is_when_the_variable_moves(variables):
    copies = WeightCopies()
    copies.watch(variables)
    taken = copies.take()

    add(variables.values(), 10.0)

    assert [one[0] for one in taken.values()] == [0, 1, 2]
