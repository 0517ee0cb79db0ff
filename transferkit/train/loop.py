"""The loop over phases; the best epoch of the run stays."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from transferkit.data.load import Data
from transferkit.errors import TrainingError
from transferkit.model.classifier import Classifier
from transferkit.progress import Progress, Task, format_seconds
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.rates import has_stopped
from transferkit.schedule.schedule import Phase
from transferkit.stop import Preempted
from transferkit.train.apply import apply_trainable
from transferkit.train.checkpoint import Checkpoints
from transferkit.train.copies import WeightCopies
from transferkit.train.epoch import Epoch
from transferkit.train.features import Features
from transferkit.train.frozen import frozen_checksums
from transferkit.train.journal import Journal, RunState, arrays_below, restore_run
from transferkit.train.phase_run import PhaseRun
from transferkit.train.strategy import Strategy
from transferkit.train.watch import Watch, flat_warning, frozen_warning, leak_warning, waiting_warning


@dataclass
class Training:
    """What training left behind; the network holds the weights of the best epoch.

    `error` says why it ended before its time; `interrupted` that a person ended it.
    """

    epochs: list[Epoch] = field(default_factory=list)
    watch: list[Watch] = field(default_factory=list)
    best: Epoch | None = None
    error: TrainingError | None = None
    interrupted: bool = False


def train(
    classifier: Classifier,
    data: Data,
    schedule: Sequence[Phase],
    *,
    recipe: Recipe,
    precision: str,
    strategy: Strategy,
    progress: Progress,
    checkpoints: Checkpoints,
) -> Training:
    """Train the phases in order and leave the best epoch's weights in the network.

    A loss that is no number, memory that runs out and a keyboard interrupt end training; what was reached until then
    is kept. Where there are checkpoints, it goes on from the last.

    Raises:
        Preempted: the run was told to stop; a checkpoint is written.
        CheckpointError: one cannot be written, or those there belong to other data.
    """
    copies = WeightCopies()
    journal = Journal(checkpoints, classifier, data, spec=recipe.checkpoint, strategy=strategy, copies=copies)
    features = Features(classifier, data, recipe=recipe, precision=precision, strategy=strategy, progress=progress)
    state, saved = journal.latest() or (RunState(), None)
    if saved:
        for phase in schedule[: state.phase + 1]:  # while the weights are those of the start
            copies.watch(apply_trainable(classifier, phase.trainable, batch_norm=phase.spec.batch_norm).moving)
        copies.put_back(arrays_below(saved, "weights"))
        progress.say(f"going on after {len(state.epochs)} epochs and {state.position} steps, from {checkpoints.folder}")
        if changed := journal.engine_changes(saved):
            progress.say(f"warning: {changed}; the run goes on, but its last bits are not those of an undisturbed one")
    training = Training(state.epochs, state.watch)
    num_epochs = sum(phase.epochs for phase in schedule)
    try:
        for phase in schedule[state.phase :]:
            applied = apply_trainable(classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
            copies.watch(applied.moving)
            if phase.index > state.phase:
                state.begin_phase(phase.index)
            if not _is_over(phase, state.done, recipe.monitor):
                run = PhaseRun(
                    classifier,
                    data,
                    phase,
                    features,
                    applied=applied,
                    starts=copies.start,
                    later=schedule[phase.index + 1 :],
                    recipe=recipe,
                    precision=precision,
                    strategy=strategy,
                    progress=progress,
                )
                if saved:
                    restore_run(run, state, saved)
                frozen = frozen_checksums(classifier, applied.moving)
                with (
                    _written_when_stopped(journal, state, run),
                    progress.task(phase.name, phase.num_steps, "steps") as task,
                ):
                    task.advance(len(state.done) * phase.steps_per_epoch + run.position)
                    for row in _epochs(run, state, journal, task):
                        if beaten := [
                            one for one in (state.best, state.best_of_phase) if one.is_beaten_by(row, recipe.monitor)
                        ]:
                            weights = {**copies.take(), **run.best_weights(row)}
                            for one in beaten:
                                one.epoch, one.weights = row, weights
                        progress.say(_line(row, state.watch[-1], num_epochs, is_best=state.best.epoch is row))
                        for warning in _warnings(run, state, recipe):
                            progress.say(f"warning: {warning}")
                        journal.after_epoch(state, run)
                if text := frozen_warning(frozen, frozen_checksums(classifier, applied.moving)):
                    progress.say(f"warning: {text}")
                journal.write(state, run=None)
            saved = None
            if len(state.done) < phase.epochs:
                progress.say(f"{phase.name}: no better for {phase.spec.early_stopping.patience} epochs, ends here")
            if phase.spec.early_stopping:
                copies.put_back(state.best_of_phase.weights)
    except TrainingError as error:
        training.error = error
    except KeyboardInterrupt:
        training.interrupted = True
    except Exception as error:
        if not strategy.is_out_of_memory(error):
            raise
        training.error = _out_of_memory(recipe)
    copies.put_back(state.best.weights)
    training.best = state.best.epoch
    return training


@contextmanager
def _written_when_stopped(journal: Journal, state: RunState, run: PhaseRun) -> Iterator[None]:
    """Told to stop, write a checkpoint first. Every place where that is told has a whole state."""
    try:
        yield
    except Preempted:
        journal.write(state, run)
        raise


def _epochs(run: PhaseRun, state: RunState, journal: Journal, task: Task) -> Iterator[Epoch]:
    """Train what is left of a phase, an epoch at a time."""
    while not _is_over(run.phase, state.done, run.recipe.monitor):
        row, watch = run.fit_epoch(len(state.done), state.done, task, after_step=lambda: journal.after_step(state, run))
        state.epochs.append(row)
        state.watch.append(watch)
        yield row


def _is_over(phase: Phase, done: Sequence[Epoch], monitor: str) -> bool:
    return len(done) >= phase.epochs or _has_stopped(phase, done, monitor)


def _has_stopped(phase: Phase, done: Sequence[Epoch], monitor: str) -> bool:
    stopping = phase.spec.early_stopping
    if stopping is None:
        return False
    # By the same order as the best epoch: of equal accuracies, the one with the lower loss is better.
    ranks = [row.rank(monitor) for row in done]
    places = [sorted(set(ranks)).index(rank) for rank in ranks]
    return has_stopped(places, patience=stopping.patience, higher_is_better=True)


def _warnings(run: PhaseRun, state: RunState, recipe: Recipe) -> Iterator[str]:
    """What looks wrong after an epoch; each warning once in a phase."""
    row, watch, first = state.epochs[-1], state.watch[-1], len(state.done) == 1
    if first and (text := waiting_warning(watch, computes_features=run.computes_features)):
        yield text
    if text := flat_warning([one.loss for one in state.done]):
        yield text
    # Oversampled, smaller classes count more in training, and they are the harder ones.
    balanced = recipe.data.imbalance.kind != "none"
    regularised = run.phase.augment or recipe.model.head.dropout > 0 or balanced
    if first and (text := leak_warning(row, num_val=len(run.validation), regularised=regularised)):
        yield text


def _out_of_memory(recipe: Recipe) -> TrainingError:
    data = recipe.data
    return TrainingError(
        f"the device has too little memory for batches of {data.batch_size} pictures of {data.image_size} px a side.\n"
        "Set runtime.gradient_accumulation_steps to 2 or more, lower data.batch_size or data.image_size, train fewer "
        "stages, or take a smaller backbone."
    )


def _line(row: Epoch, watch: Watch, num_epochs: int, *, is_best: bool) -> str:
    average = "" if row.ema_val_loss is None else f"  average {row.ema_val_accuracy:6.1%}"
    mean_precision = "" if row.val_map is None else f"  mAP {row.val_map:.3f}"
    return (
        f"epoch {row.epoch:>{len(str(num_epochs))}} of {num_epochs}  {row.phase}  "
        f"loss {row.loss:.3f}  accuracy {row.accuracy:6.1%}  "
        f"validation loss {row.val_loss:.3f}  accuracy {row.val_accuracy:6.1%}{mean_precision}{average}  "
        f"{format_seconds(watch.seconds)}{'  best' if is_best else ''}"
    )
