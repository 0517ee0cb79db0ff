"""Where a run stands, written to checkpoints and read back."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.listing import SPLITS
from transferkit.data.load import Data
from transferkit.errors import CheckpointError
from transferkit.model.classifier import Classifier
from transferkit.recipe.recipe import CheckpointSpec
from transferkit.train.checkpoint import Checkpoints, Saved
from transferkit.train.copies import Copy, WeightCopies, as_array, bits_equal
from transferkit.train.epoch import Epoch
from transferkit.train.phase_run import PhaseRun
from transferkit.train.runtime import engine_identity
from transferkit.train.strategy import Strategy
from transferkit.train.watch import Watch


@dataclass
class Best:
    """The best epoch so far, the earliest of equals, and its weights; before any, the start."""

    epoch: Epoch | None = None
    weights: Copy = field(default_factory=dict)

    def is_beaten_by(self, epoch: Epoch, monitor: str) -> bool:
        return self.epoch is None or epoch.rank(monitor) > self.epoch.rank(monitor)


@dataclass
class RunState:
    """Where a run stands, apart from the weights and the optimizer.

    Args:
        phase: index of the current one.
        phase_start: how many epochs came before it.
        position: steps done in the current epoch.
        epochs, watch: all whole epochs so far.
    """

    phase: int = 0
    phase_start: int = 0
    position: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    watch: list[Watch] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    best_of_phase: Best = field(default_factory=Best)

    @property
    def done(self) -> list[Epoch]:
        """The whole epochs of the current phase."""
        return self.epochs[self.phase_start :]

    def begin_phase(self, index: int) -> None:
        self.phase, self.phase_start, self.position, self.best_of_phase = index, len(self.epochs), 0, Best()


class Journal:
    """Writes checkpoints when they are due; only the chief does.

    Args:
        classifier: with the weights of the run's start. A checkpoint holds only those that have moved since.
        copies: knows every weight that the run has moved so far.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        classifier: Classifier,
        data: Data,
        *,
        spec: CheckpointSpec,
        strategy: Strategy,
        copies: WeightCopies,
    ) -> None:
        self._checkpoints, self._strategy, self._copies = checkpoints, strategy, copies
        self._count, self._unit = spec.span
        self._since, self._last_s = 0, time.monotonic()
        self._data, self._start = _digest_of_data(data), _digest_of_weights(classifier)
        self._engine = {**engine_identity(), "strategy": strategy.name, "replicas": strategy.num_replicas}

    def after_step(self, state: RunState, run: PhaseRun) -> None:
        """Write if steps or seconds say so."""
        if self._unit == "epochs":
            return
        self._since += 1
        passed = self._since if self._unit == "steps" else time.monotonic() - self._last_s
        if passed >= self._count:
            self.write(state, run)

    def after_epoch(self, state: RunState, run: PhaseRun) -> None:
        """Write if epochs say so."""
        if self._unit != "epochs":
            return
        self._since += 1
        if self._since >= self._count:
            self.write(state, run)

    def write(self, state: RunState, run: PhaseRun | None) -> None:
        """A checkpoint of now.

        Args:
            run: the current phase; `None` where it is over.

        Raises:
            CheckpointError: it cannot be written.
        """
        self._since, self._last_s = 0, time.monotonic()
        if self._strategy.process:
            return
        arrays = {}
        if run:
            run.steps.sync()
            # Not copied: nothing changes before all is written.
            arrays = {f"state/{name}": one.numpy() for name, one in run.trainer.own_state().items()}
        meta = {
            "phase": state.phase,
            "phase_start": state.phase_start,
            "position": run.position if run else 0,
            "epochs": [asdict(one) for one in state.epochs],
            "watch": [asdict(one) for one in state.watch],
            "data": self._data,
            "start": self._start,
            "engine": self._engine,
        }
        now = {path: one.numpy() for path, one in self._copies.moving.items()}
        arrays |= {f"weights/{path}": one for path, one in now.items()}
        for name, best in (("best", state.best), ("best_of_phase", state.best_of_phase)):
            meta[name] = state.epochs.index(best.epoch) if best.epoch else None
            # One array under several names is written once; mostly all three are the epoch just trained.
            others = [now, state.best.weights]
            arrays |= {f"{name}/{path}": _first_equal(path, one, others) for path, one in best.weights.items()}
        self._checkpoints.write(meta, arrays)

    def latest(self) -> tuple[RunState, Saved] | None:
        """The last checkpoint and where the run stood then.

        Raises:
            CheckpointError: the pictures or the weights to begin with are others now.
        """
        saved = self._checkpoints.latest()
        place = [len(saved.meta["epochs"]), saved.meta["phase"], saved.meta["position"]] if saved else [-1, 0, 0]
        if len(np.unique(self._strategy.gather(np.array(place)), axis=0)) > 1:
            raise CheckpointError(
                f"{self._checkpoints.folder}: the processes see different checkpoints. Put the run folder on a disk "
                "that all machines share."
            )
        if not saved:
            return None
        _refuse_others(saved, self._data, self._start, self._checkpoints.folder)
        meta = saved.meta
        state = RunState(
            phase=meta["phase"],
            phase_start=meta["phase_start"],
            position=meta["position"],
            epochs=[Epoch(**one) for one in meta["epochs"]],
            watch=[Watch(**one) for one in meta["watch"]],
        )
        for name, best in (("best", state.best), ("best_of_phase", state.best_of_phase)):
            if meta[name] is not None:
                best.epoch, best.weights = state.epochs[meta[name]], arrays_below(saved, name)
        return state, saved

    def engine_changes(self, saved: Saved) -> str:
        """How versions and devices differ from those of a checkpoint, in words; empty if they do not."""
        before = saved.meta["engine"]
        changed = [name for name, now in self._engine.items() if before[name] != now]
        return "; ".join(f"{name}: {before[name]} before, {self._engine[name]} now" for name in changed)


def check_origin(checkpoints: Checkpoints, classifier: Classifier, data: Data) -> None:
    """See that a run can go on from its checkpoints, before anything is written into its folder.

    Raises:
        CheckpointError: the pictures or the weights to begin with are others now.
    """
    if saved := checkpoints.latest():
        _refuse_others(saved, _digest_of_data(data), _digest_of_weights(classifier), checkpoints.folder)


def _refuse_others(saved: Saved, data: str, start: str, folder: Path) -> None:
    if saved.meta["data"] != data:
        raise CheckpointError(
            f"{folder}: the pictures, their classes, weights or splits are not those that the run began with, so it "
            "cannot go on.\nWhere neither pictures nor recipe have changed, another version of transferkit has split "
            "them (versions.json tells which); go on with that one, or add --overwrite to begin anew, or name another "
            "--run-dir."
        )
    if saved.meta["start"] != start:
        raise CheckpointError(
            f"{folder}: the network does not begin with the weights that the run began with: their file, or the "
            "version of Keras, is another one. So the run cannot go on.\n"
            "Put back what was there, add --overwrite to begin anew, or name another --run-dir."
        )


def arrays_below(saved: Saved, name: str) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint whose names begin with `name/`."""
    return {key.removeprefix(f"{name}/"): one for key, one in saved.arrays.items() if key.startswith(f"{name}/")}


def _first_equal(path: str, array: np.ndarray, others: Sequence[Copy]) -> np.ndarray:
    """The first array with the same bits among others at the same path; else the array itself."""
    found = (other[path] for other in others if path in other and bits_equal(other[path], array))
    return next(found, array)


def restore_run(run: PhaseRun, state: RunState, saved: Saved) -> None:
    """Put a phase where the checkpoint had it; the weights are there already."""
    kept: Mapping[str, Any] = arrays_below(saved, "state")
    own = run.trainer.own_state()
    if {name: tuple(one.shape) for name, one in own.items()} != {name: one.shape for name, one in kept.items()}:
        raise CheckpointError(
            "the checkpoint holds another optimizer's state than this version of Keras makes.\n"
            "Go on with the versions that versions.json of the run names, or begin anew with --overwrite."
        )
    for name, variable in own.items():
        variable.assign(kept[name])
    run.steps.load()
    run.position = state.position


def _digest_of_weights(classifier: Classifier) -> str:
    digest = hashlib.sha256()
    for path, variable in classifier.weights().items():
        digest.update(f"{path} {variable.dtype} {variable.shape} ".encode())
        digest.update(as_array(variable).tobytes())
    return digest.hexdigest()


def _digest_of_data(data: Data) -> str:
    digest = hashlib.sha256(repr(data.class_names).encode())
    for split in SPLITS:
        for row in data.rows[split]:
            digest.update(data.digests[row] + data.labels[row].tobytes() + data.weights[row].tobytes())
        digest.update(split.encode())
    return digest.hexdigest()
