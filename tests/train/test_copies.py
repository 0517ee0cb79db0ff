"""Copies of weights, to go back to."""

import numpy as np
import pytest

from transferkit.train.copies import WeightCopies

pytestmark = pytest.mark.model


@pytest.fixture
def variables():
    import keras

    return [keras.Variable(np.full(2, float(value)), name=f"v{value}") for value in range(3)]


def values(variables) -> list[float]:
    return [float(variable.numpy()[0]) for variable in variables]


def test_copy_brings_back_what_was_there(variables):
    copies = WeightCopies()
    copies.watch(variables)
    taken = copies.take()
    for variable in variables:
        variable.assign(variable + 10.0)

    copies.put_back(taken)

    assert values(variables) == [0, 1, 2]


def test_copy_of_fewer_variables_brings_back_the_start_of_those_watched_later(variables):
    first, second, third = variables
    copies = WeightCopies()
    copies.watch([first])
    first.assign(first + 10.0)
    taken = copies.take()
    copies.watch([first, second])
    for variable in (first, second):
        variable.assign(variable + 100.0)

    copies.put_back(taken)

    assert values(variables) == [10, 1, 2]


def test_empty_copy_stands_for_the_start(variables):
    copies = WeightCopies()
    copies.watch(variables)
    for variable in variables:
        variable.assign(variable + 10.0)

    copies.put_back({})

    assert values(variables) == [0, 1, 2]


def test_variables_that_nobody_watches_are_left_alone(variables):
    copies = WeightCopies()
    copies.watch(variables[:1])
    taken = copies.take()
    variables[1].assign(variables[1] + 10.0)

    copies.put_back(taken)

    assert values(variables) == [0, 11, 2]
