"""Random numbers are a function of seed, stream, step, replica and part, and of nothing before them."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from transferkit.model.draws import Draws

pytestmark = pytest.mark.model

HERE = {"seed": 4, "stream": "phase 1", "step": 7, "replica": 0, "part": 0}


def owners() -> list:
    """A layer, and one inside a layer inside a network."""
    inner = keras.Sequential([layers.Dropout(0.5, seed=2)])
    return [layers.Dropout(0.5, seed=1), keras.Sequential([inner])]


def drawn(given=None, *, seed, stream, step, replica, part) -> np.ndarray:
    """`(2, 2)`: one seed of each generator."""
    draws = Draws(given or owners(), seed=seed, stream=stream)
    with draws.at(step, replica=replica, part=part):
        return np.array([generator.next() for generator in draws.generators])


def test_draws_are_those_of_where_training_stands():
    used = owners()
    for _ in range(3):
        used[0](np.ones((2, 2), np.float32), training=True)

    np.testing.assert_array_equal(drawn(used, **HERE), drawn(**HERE))


@pytest.mark.parametrize(
    "elsewhere", [{"seed": 5}, {"stream": "phase 2"}, {"step": 8}, {"replica": 1}, {"part": 1}], ids=str
)
def test_draws_differ_wherever_anything_differs(elsewhere):
    first, other = drawn(**HERE), drawn(**HERE | elsewhere)

    assert len({tuple(seed) for seed in (*first, *other)}) == 4


def test_generators_inside_layers_are_found_and_have_streams_of_their_own():
    first, second = drawn(**HERE)

    assert first[0] != second[0]


def test_draws_take_every_step_of_a_long_training():
    for step in (1_000_000, tf.constant(1_000_000, tf.int64), np.int64(1_000_000)):
        assert drawn(**HERE | {"step": step, "seed": 2**31 - 1})[0][1] == 256_000_000


def test_generators_go_on_as_before_where_nobody_says_where_training_stands():
    (layer, _) = given = owners()
    before = layer.seed_generator.state.numpy()
    drawn(given, **HERE)

    layer(np.ones((2, 2), np.float32), training=True)

    np.testing.assert_array_equal(layer.seed_generator.state.numpy(), before + [0, 1])


def test_threads_that_trace_replicas_at_once_draw_their_own_numbers():
    draws, found, both_are_inside = Draws(owners(), seed=0, stream="s"), {}, threading.Barrier(2)

    def trace(replica):
        with draws.at(1, replica=replica):
            both_are_inside.wait(10)
            found[replica] = np.array([generator.next() for generator in draws.generators])

    threads = [threading.Thread(target=trace, args=(replica,)) for replica in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for replica in range(2):
        expected = drawn(seed=0, stream="s", step=1, replica=replica, part=0)
        np.testing.assert_array_equal(found[replica], expected)
