"""A run that is stopped or killed, however often and wherever, ends with the bits of one that is not."""

import resource
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from transferkit.errors import CheckpointError
from transferkit.progress import Quiet
from transferkit.stop import Preempted
from transferkit.train import journal
from transferkit.train.checkpoint import Checkpoints
from transferkit.train.copies import WeightCopies

pytestmark = pytest.mark.model

PHASES = (
    {"name": "warm-up", "optimizer": "adamw", "augment": False, "learning_rate": 0.1, "epochs": 4, "ema": 0.5,
     "early_stopping": {"patience": 1}},
    {"name": "views", "optimizer": "lion", "augment": True, "views": 2, "epochs": 2, "learning_rate": 1e-3},
    {"name": "top", "train": {"last_stages": 1}, "optimizer": {"name": "sgd", "momentum": 0.9}, "learning_rate": 0.1,
     "batch_norm": "train", "epochs": 3, "schedule": {"plateau": {"patience": 1}}, "l2_sp": 0.01,
     "early_stopping": {"patience": 2}},
    {"name": "gradual", "train": {"gradual": {"every_epochs": 1}}, "optimizer": "nadam", "schedule": "cosine",
     "epochs": 2, "learning_rate": 1e-2, "clip_norm": 1.0, "ema": 0.9},
    {"name": "all", "train": "all", "optimizer": "rmsprop", "learning_rate": 1e-3, "batch_norm": "affine",
     "stage_decay": 0.5},
    {"name": "biases", "train": "bias", "optimizer": "adam"},
)  # fmt: skip
SECTIONS = {
    "augment": [{"flip": "horizontal"}, {"rotate": {"degrees": 20}}, {"mixup": {"alpha": 0.4}}],
    "model": {"weights": "none", "head": {"dropout": 0.3, "hidden": [8]}},
}
TOP = {"train": {"last_stages": 1}, "epochs": 2, "learning_rate": 1e-2}


class Killed(BaseException):
    """What SIGKILL is to a process: nothing is written after it."""


class Ends(Quiet):
    """Progress that raises `how` when it is told something for the `after`-th time."""

    def __init__(self, how: type[BaseException], after: int) -> None:
        self.how, self.left = how, after

    def advance(self, count: int = 1, note: str = "") -> None:
        self.left -= 1
        if self.left <= 0:
            raise self.how

    def say(self, line: str) -> None:
        self.advance()


@pytest.fixture(scope="module")
def make(make_toy, make_data):
    """A small run, or one of all kinds of phases; the last batch of an epoch is smaller."""

    def make(*phases, **sections):
        return make_toy(*phases, **{"data": make_data(20, 10), **SECTIONS, **sections})

    return make


@pytest.fixture(scope="module")
def reference(make):
    """A run of all kinds of phases that nobody disturbs, and its training."""
    toy = make(*PHASES)
    return toy, toy.train()


@pytest.fixture
def until_done(make, tmp_path):
    """Begins a run again, in a new network each time, until it gets to its end: the network, its training, and how
    often it was ended. `moments` says after how many events each try ends."""

    def go(phases, how, moments, **sections):
        for ends, after in enumerate(moments):
            toy = make(*phases, **sections)
            try:
                training = toy.train(Ends(how, after), checkpoints=tmp_path)
            except how:
                continue
            if not training.interrupted:
                return toy, training, ends
        raise AssertionError("the run did not come to its end")

    return go


def assert_equal(found, expected):
    (toy, training), (other, other_training) = found, expected
    assert training.epochs == other_training.epochs
    assert training.best == other_training.best
    weights = toy.weights()
    for path, value in other.weights().items():
        np.testing.assert_array_equal(weights[path], value, err_msg=path)


@pytest.mark.parametrize(
    ("how", "every", "longest"),
    [(Preempted, "1 epoch", 24), (Killed, "2 steps", 24), (KeyboardInterrupt, "3 steps", 24)],
    ids=["told to stop", "killed", "Ctrl-C"],
)
def test_a_run_that_is_ended_again_and_again_ends_like_one_that_is_not(until_done, reference, how, every, longest):
    draw = np.random.default_rng(0)
    moments = (draw.integers(1, longest) for _ in range(200))

    toy, training, ends = until_done(PHASES, how, moments, checkpoint={"every": every})

    assert ends >= 4
    assert_equal((toy, training), reference)


@pytest.mark.parametrize("optimizer", ["nadam", "adamw"])
def test_loss_scaling_goes_on_where_it_was(make, until_done, optimizer):
    # Rates that overflow float16 on the way: the scale falls, and steps are left out.
    phase = {**TOP, "optimizer": optimizer, "batch_norm": "train"}
    expected = make(phase, precision="mixed_float16")
    expected_training = expected.train()

    toy, training, ends = until_done([phase], Preempted, iter([4, 5, 5, 5, 5, 99]), precision="mixed_float16")

    assert ends == 5
    assert_equal((toy, training), (expected, expected_training))


@pytest.mark.parametrize("imbalance", ["oversample", "class_weight"])
def test_balanced_epochs_go_on_where_they_were(make, make_unbalanced, until_done, imbalance):
    data = make_unbalanced()
    weights = np.linspace(0, 2, len(data.weights), dtype=np.float32)
    options = {"data": replace(data, weights=weights), "pictures": {"imbalance": imbalance}}
    expected = make(TOP, **options)
    expected_training = expected.train()

    # Two or three steps an epoch, each told of, and each epoch's line.
    toy, training, ends = until_done([TOP], Preempted, iter([4, 4, 3, 99]), checkpoint={"every": "1 steps"}, **options)

    assert ends == 3
    assert_equal((toy, training), (expected, expected_training))


def test_other_weights_of_pictures_are_refused(make, stopped):
    toy = make(TOP)
    toy.data = replace(toy.data, weights=toy.data.weights * np.float32(2))

    with pytest.raises(CheckpointError, match="the pictures, their classes, weights or splits"):
        toy.train(checkpoints=stopped)


def test_one_trace_serves_batches_of_every_size(make):
    # Traces for some sizes and a wider one for others round differently, and which come first depends on the start.
    run = make(TOP).phase_run()

    run.fit_epoch(0, [], Quiet())

    assert run.steps._compiled.experimental_get_tracing_count() == 1


def test_a_full_disk_is_an_error_after_which_the_run_goes_on(make, tmp_path):
    class FillsDisk(Ends):
        def advance(self, count=1, note=""):
            self.left -= 1
            if not self.left:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    every = {"checkpoint": {"every": "1 steps"}}
    expected = make(TOP)
    expected_training = expected.train()

    try:
        with pytest.raises(CheckpointError, match="cannot be written to"):
            make(TOP, **every).train(FillsDisk(Killed, 6), checkpoints=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = sorted(path.name for path in tmp_path.iterdir())
    toy = make(TOP, **every)
    training = toy.train(checkpoints=tmp_path)

    assert len(left) == 2
    assert all(name.startswith("checkpoint-") for name in left)
    assert_equal((toy, training), (expected, expected_training))


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("1 epoch", [(1, 0), (2, 0), (2, 0)]),
        ("2 steps", [(0, 2), (1, 1), (1, 3), (2, 0)]),
        ("3 s", [(0, 3), (1, 3), (2, 0)]),
    ],
)
def test_checkpoints_are_written_when_epochs_steps_or_seconds_have_passed(make, monkeypatch, tmp_path, every, expected):
    class Clock:
        now_s = 0.0

        def monotonic(self):
            self.now_s += 1.0
            return self.now_s

    written = []
    monkeypatch.setattr(journal, "time", Clock())
    monkeypatch.setattr(
        Checkpoints, "write", lambda _, meta, arrays: written.append((len(meta["epochs"]), meta["position"]))
    )

    make(TOP, checkpoint={"every": every}).train(checkpoints=tmp_path)

    assert written == expected


@pytest.fixture
def stopped(make, tmp_path):
    """A folder with the checkpoint of a run that was told to stop within its first epoch."""
    with pytest.raises(Preempted):
        make(TOP).train(Ends(Preempted, 6), checkpoints=tmp_path)
    assert not Checkpoints(tmp_path).is_empty
    return tmp_path


def test_other_pictures_are_refused(make, make_data, with_pictures, stopped):
    toy = make(TOP)
    images = toy.data.images.copy()
    images[toy.data.rows["validation"][0], 0, 0, 0] ^= 1
    toy.data = with_pictures(toy.data, images)

    with pytest.raises(CheckpointError, match="the pictures, their classes, weights or splits"):
        toy.train(checkpoints=stopped)


def test_other_weights_to_begin_with_are_refused(make, stopped):
    toy = make(TOP)
    weights = toy.weights()
    weights["first_conv/kernel"][0, 0, 0, 0] += 1  # frozen in all phases, and in no checkpoint
    toy.assign(weights)

    with pytest.raises(CheckpointError, match="does not begin with the weights"):
        toy.train(checkpoints=stopped)


def test_another_optimizer_s_state_is_refused(make, stopped):
    with pytest.raises(CheckpointError, match="another optimizer's state"):
        make({**TOP, "optimizer": "sgd"}).train(checkpoints=stopped)


def test_other_versions_are_told(make, stopped, monkeypatch, told):
    engine = {**journal.engine_identity(), "versions": ["9.9", "9.9"]}
    monkeypatch.setattr(journal, "engine_identity", lambda: engine)

    make(TOP).train(told, checkpoints=stopped)

    assert any(line.startswith("warning: versions: [") and "9.9" in line for line in told.lines)


def test_the_same_versions_are_not_told(make, stopped, told):
    make(TOP).train(told, checkpoints=stopped)

    assert not any(line.startswith("warning: ") and "bits" in line for line in told.lines)


@pytest.mark.parametrize("process", [0, 1])
def test_only_the_chief_writes(make, tmp_path, process):
    toy = make(TOP)
    strategy = SimpleNamespace(name="two processes", process=process, num_replicas=2)
    own = journal.Journal(
        Checkpoints(tmp_path),
        toy.classifier,
        toy.data,
        spec=toy.recipe.checkpoint,
        strategy=strategy,
        copies=WeightCopies(),
    )

    own.write(journal.RunState(), run=None)

    assert Checkpoints(tmp_path).is_empty == (process > 0)
