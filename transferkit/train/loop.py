"""The loop over phases; the best epoch of the run stays."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from transferkit.data.load import Data
from transferkit.errors import TrainingError
from transferkit.model.classifier import Classifier
from transferkit.progress import Progress, format_seconds
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.rates import has_stopped
from transferkit.schedule.schedule import Phase
from transferkit.train.copies import Copy, WeightCopies
from transferkit.train.features import FeatureStore
from transferkit.train.phase_run import Epoch, PhaseRun


@dataclass
class Training:
    """What training left behind; the network holds the weights of the best epoch.

    `error` says why it ended before its time; `interrupted` that a person ended it.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    error: TrainingError | None = None
    interrupted: bool = False


@dataclass
class _Best:
    """The best epoch so far, the earliest of equals, and its weights; before any, the start."""

    epoch: Epoch | None = None
    weights: Copy = field(default_factory=dict)

    def is_beaten_by(self, epoch: Epoch, monitor: str) -> bool:
        return self.epoch is None or epoch.rank(monitor) > self.epoch.rank(monitor)


def train(
    classifier: Classifier,
    data: Data,
    schedule: Sequence[Phase],
    *,
    recipe: Recipe,
    precision: str,
    progress: Progress,
) -> Training:
    """Train the phases in order and leave the best epoch's weights in the network.

    A loss that is no number, memory that runs out and a keyboard interrupt end training; what was reached until then
    is kept.
    """
    training, best, copies = Training(), _Best(), WeightCopies()
    store = FeatureStore(classifier, data, batch_size=recipe.data.batch_size, progress=progress)
    num_epochs = sum(phase.epochs for phase in schedule)
    try:
        for phase in schedule:
            run = PhaseRun(classifier, data, phase, store, recipe=recipe, precision=precision, progress=progress)
            copies.watch(run.moving)
            best_of_phase, done = _Best(), []
            with progress.task(phase.name, phase.num_steps, "steps") as task:
                while len(done) < phase.epochs and not _has_stopped(phase, done, recipe.monitor):
                    row = run.fit_epoch(len(done), done, task)
                    done.append(row)
                    training.epochs.append(row)
                    if beaten := [one for one in (best, best_of_phase) if one.is_beaten_by(row, recipe.monitor)]:
                        weights = copies.take()
                        for one in beaten:
                            one.epoch, one.weights = row, weights
                    progress.say(_line(row, num_epochs, is_best=best.epoch is row))
            if len(done) < phase.epochs:
                progress.say(f"{phase.name}: no better for {phase.spec.early_stopping.patience} epochs, ends here")
            if phase.spec.early_stopping:
                copies.put_back(best_of_phase.weights)
    except TrainingError as error:
        training.error = error
    except tf.errors.ResourceExhaustedError:
        training.error = _out_of_memory(recipe)
    except KeyboardInterrupt:
        training.interrupted = True
    copies.put_back(best.weights)
    training.best = best.epoch
    return training


def _has_stopped(phase: Phase, done: Sequence[Epoch], monitor: str) -> bool:
    stopping = phase.spec.early_stopping
    if stopping is None:
        return False
    # By the same order as the best epoch: of equal accuracies, the one with the lower loss is better.
    ranks = [row.rank(monitor) for row in done]
    places = [sorted(set(ranks)).index(rank) for rank in ranks]
    return has_stopped(places, patience=stopping.patience, higher_is_better=True)


def _out_of_memory(recipe: Recipe) -> TrainingError:
    data = recipe.data
    return TrainingError(
        f"the device has too little memory for batches of {data.batch_size} pictures of {data.image_size} px a side.\n"
        "Lower data.batch_size or data.image_size, train fewer stages, or take a smaller backbone."
    )


def _line(row: Epoch, num_epochs: int, *, is_best: bool) -> str:
    return (
        f"epoch {row.epoch:>{len(str(num_epochs))}} of {num_epochs}  {row.phase}  "
        f"loss {row.loss:.3f}  accuracy {row.accuracy:6.1%}  "
        f"validation loss {row.val_loss:.3f}  accuracy {row.val_accuracy:6.1%}  "
        f"{format_seconds(row.seconds)}{'  best' if is_best else ''}"
    )
