"""Which rows of a batch each process and replica gets, as numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.model

LAYOUTS = [(1, 2), (2, 1), (2, 2), (3, 1), (4, 2)]  # processes, replicas in each


def strategies(num_processes, num_local):
    """The strategy of each process, on a cluster that is only announced."""
    from transferkit.train.tensorflow_strategy import TensorflowStrategy

    spec = SimpleNamespace(jobs=["worker"], num_tasks=lambda job: num_processes)
    return [
        TensorflowStrategy(
            "multi_worker",
            SimpleNamespace(
                num_replicas_in_sync=num_processes * num_local,
                cluster_resolver=SimpleNamespace(cluster_spec=lambda: spec, task_id=process),
            ),
        )
        for process in range(num_processes)
    ]


class Recording:
    """Rows that note which of them are read."""

    shape, dtype = (1000, 4), np.dtype(np.float32)

    def __init__(self):
        self.read = []

    def __getitem__(self, rows):
        self.read += rows.tolist()
        return np.repeat(rows[:, None], 4, axis=1).astype(np.float32)


@pytest.mark.parametrize(("num_processes", "num_local"), LAYOUTS)
@pytest.mark.parametrize("num_rows", [8, 9, 13, 32, 33])
def test_distribution_rows_of_all_processes_are_disjoint_and_cover_the_batch(num_processes, num_local, num_rows):
    parts = [one.own_rows(num_rows) for one in strategies(num_processes, num_local)]

    rows = np.concatenate([np.arange(num_rows)[part] for part in parts])

    assert rows.tolist() == list(range(num_rows))


@pytest.mark.parametrize(("num_processes", "num_local"), LAYOUTS)
def test_distribution_shares_differ_by_one_row_at_most(num_processes, num_local):
    for num_rows in range(num_processes * num_local, 40):
        sizes = [one.stop - one.start for one in strategies(num_processes, num_local)[0].shares(num_rows)]

        assert sum(sizes) == num_rows
        assert max(sizes) - min(sizes) <= 1


def test_distribution_gives_a_batch_with_fewer_rows_than_replicas_whole_to_everybody():
    assert [one.own_rows(3) for one in strategies(2, 2)] == [slice(0, 3)] * 2
    assert strategies(2, 2)[0].shares(3) == [slice(0, 3)] * 4


@pytest.mark.parametrize(("num_processes", "num_local"), [(2, 1), (2, 2), (3, 1)])
def test_distribution_processes_read_each_row_of_an_epoch_once_between_them(num_processes, num_local):
    from transferkit.train.batches import epoch_order, training_batches

    order = epoch_order(1000, seed=0, epoch=3)[:501]
    read, batches = [], []
    for strategy in strategies(num_processes, num_local):
        inputs = Recording()
        batches.append(list(training_batches(inputs, order, order, batch_size=16, strategy=strategy)))
        read.append(inputs.read)

    assert sorted(sum(read, [])) == sorted(order.tolist())
    together = [np.concatenate([labels for _, labels, _ in parts]) for parts in zip(*batches, strict=True)]
    assert np.concatenate(together).tolist() == order.tolist()
    assert {num_rows for *_, num_rows in (one[-1] for one in batches)} == {501 % 16}


@pytest.mark.parametrize("num_rows", [1, 31, 64, 65, 129])
def test_distribution_computes_each_row_in_one_process(num_rows):
    from transferkit.train.forward import compute_outputs

    asked = np.arange(num_rows)[::-1]
    own = []
    for strategy in strategies(2, 1):
        strategy.gather = lambda array: own.append(array) or np.zeros((2, *array.shape), array.dtype)
        compute_outputs(lambda rows: [rows], Recording(), asked, strategy=strategy)

    assert np.concatenate(own)[:num_rows, 0].tolist() == asked.tolist()
