"""The loop over phases; the best epoch of the run stays."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from transferkit.data.load import Data
from transferkit.errors import TrainingError
from transferkit.model.classifier import Classifier
from transferkit.progress import Progress, format_seconds
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.rates import has_stopped
from transferkit.schedule.schedule import Phase
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

    A loss that is no number and a keyboard interrupt end training; what was reached until then is kept.
    """
    training = Training()
    store = FeatureStore(classifier, data, batch_size=recipe.data.batch_size, progress=progress)
    best_weights = classifier.network.get_weights()
    try:
        for phase in schedule:
            run = PhaseRun(classifier, data, phase, store, recipe=recipe, precision=precision, progress=progress)
            phase_epochs: list[Epoch] = []
            phase_weights = None
            with progress.task(phase.name, phase.num_steps, "steps") as task:
                for epoch in range(phase.epochs):
                    row = run.fit_epoch(epoch, phase_epochs, task)
                    phase_epochs.append(row)
                    training.epochs.append(row)
                    if training.best is None or row.rank(recipe.monitor) > training.best.rank(recipe.monitor):
                        training.best, best_weights = row, classifier.network.get_weights()
                    if row.rank(recipe.monitor) >= max(one.rank(recipe.monitor) for one in phase_epochs):
                        phase_weights = classifier.network.get_weights() if phase.spec.early_stopping else None
                    progress.say(_line(row, schedule, is_best=row is training.best))
                    if _stops_early(phase, phase_epochs, recipe.monitor):
                        progress.say(f"{phase.name}: no better for {phase.spec.early_stopping.patience} epochs, ends here")
                        break
            if phase_weights is not None:
                classifier.network.set_weights(phase_weights)
            store.forget_above(phase.cut)
    except TrainingError as error:
        training.error = error
    except KeyboardInterrupt:
        training.interrupted = True
    classifier.network.set_weights(best_weights)
    return training


def _stops_early(phase: Phase, epochs: Sequence[Epoch], monitor: str) -> bool:
    stopping = phase.spec.early_stopping
    if stopping is None or len(epochs) == phase.epochs:
        return False
    values = [row.value(monitor) for row in epochs]
    return has_stopped(values, patience=stopping.patience, higher_is_better=monitor == "val_accuracy")


def _line(row: Epoch, schedule: Sequence[Phase], *, is_best: bool) -> str:
    total = sum(phase.epochs for phase in schedule)
    return (
        f"epoch {row.epoch:>{len(str(total))}} of {total}  {row.phase}  "
        f"loss {row.loss:.3f}  accuracy {row.accuracy:6.1%}  "
        f"validation loss {row.val_loss:.3f}  accuracy {row.val_accuracy:6.1%}  "
        f"{format_seconds(row.seconds)}{'  best' if is_best else ''}"
    )
