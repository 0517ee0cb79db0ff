"""The whole job: one recipe in, one run folder out. Each line's result is the next line's argument."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.backbones.table import BACKBONES
from transferkit.check import check_draft, load_recipe, warnings_for
from transferkit.errors import RuntimeSetupError
from transferkit.progress import ConsoleProgress, Progress, Quiet, Remark
from transferkit.recipe.draft import draft_values
from transferkit.recipe.dump import recipe_to_yaml
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.shipped import find_recipe
from transferkit.stop import StoppableProgress, on_sigterm

if TYPE_CHECKING:
    from transferkit.bundle.predictor import Prediction
    from transferkit.data.arrays_source import Arrays
    from transferkit.evaluate.evaluate import Report
    from transferkit.model.classifier import Classifier
    from transferkit.plan import Plan
    from transferkit.train.epoch import Epoch
    from transferkit.train.peers import Peers
    from transferkit.train.watch import Watch

# Phases that name layers, which only the built network knows.
_NAMES_LAYERS = ("from_layer", "pattern", "norm")


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Args:
        report: results by split; empty where training ended before its time.
        history: one row per epoch, the same in every run.
        watch: one row per epoch of speed, memory and norms.
        best: the epoch whose weights the model holds.
        model: a plain Keras model, pixels 0–255 to probabilities.
        interrupted: a person ended the run.
    """

    run_dir: Path
    report: "Mapping[str, Report]" = field(repr=False)
    history: "tuple[Epoch, ...]" = field(repr=False)
    watch: "tuple[Watch, ...]" = field(repr=False)
    best: "Epoch | None"
    model: Any = field(repr=False)
    interrupted: bool = False

    def predict(self, pictures: Any) -> "list[Prediction]":
        """Class and probabilities of picture files by their paths, or of arrays; see `Predictor.predict`."""
        from transferkit.bundle.finished import load_run

        return load_run(self.run_dir).predict(pictures)

    def _repr_html_(self) -> str:
        from transferkit.report.notebook import result_to_html

        return result_to_html(self.run_dir, self.report)


class FineTuner:
    """Fine-tune one backbone on one set of pictures.

    Args:
        data: a folder of pictures; or what a recipe's `data` section may hold, as a mapping; or the pictures
            themselves: `(images, labels)` or `(images, labels, weights)` as arrays, a `tf.data.Dataset` or a Keras
            `PyDataset` of such pairs; in a mapping, `{"source": {"arrays": …}}`.
        backbone: a name of the backbones table; default: the recipe's.
        class_names: in label order; of pictures from Python, what the numbers in their labels stand for.
        settings: further recipe sections by name, such as `phases=[…]`, `augment=[…]`, `model={…}`, `seed=1`; with
            `__` for a step down, as in `data__image_size=64`.

    Raises:
        RecipeError: all faults at once.
        DataError: pictures from Python that cannot be used.
    """

    recipe: Recipe
    arrays: "Arrays | None" = None

    def __init__(
        self, data: Any, *, backbone: str | None = None, class_names: Iterable[str] | None = None, **settings: Any
    ) -> None:
        from transferkit.data.arrays_source import split_off_arrays

        section, self.arrays = split_off_arrays(data, class_names)
        model = settings.pop("model", {})
        if backbone and isinstance(model, Mapping):
            model = {**model, "backbone": backbone}
        # What is no section is a key further down, or unknown.
        overrides = {key: settings.pop(key) for key in list(settings) if key not in Recipe.model_fields}
        values = {"data": section, "model": model, **settings}
        arguments = ("backbone", "class_names")
        self.recipe = check_draft(draft_values(values, overrides, arguments=arguments, source="FineTuner(…)"))

    @classmethod
    def from_recipe(cls, recipe: Path | str, changes: Iterable[str] = (), **overrides: Any) -> "FineTuner":
        """From a recipe file, or a shipped recipe's name.

        Args:
            changes: texts such as `phases[0].epochs=3`, as for the command line's `--set`.
            overrides: values by key, with `__` for a step down: `seed=1`, `phases__0__epochs=3`,
                `model__backbone="vgg16"`.
        """
        tuner = cls.__new__(cls)
        tuner.recipe = load_recipe(find_recipe(str(recipe)), changes, **overrides)
        return tuner

    def plan(self, *, measure: bool = False) -> "Plan":
        """What a run would do, without training. `measure` times a few steps of each phase on this machine."""
        from transferkit.plan import make_plan

        self._start_keras()
        return make_plan(self.recipe, measure=measure, arrays=self.arrays)

    def run(
        self,
        run_dir: Path | str | None = None,
        *,
        overwrite: bool = False,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Train, evaluate, and write the run folder.

        An unfinished run of the same recipe in `run_dir` goes on from its last checkpoint.

        Args:
            run_dir: default `runs/<name>-<date>-<time>`; with `resume` the newest unfinished run of the same recipe.
            overwrite: replace a run that is already there.
            resume: refuse to begin a new run.
            progress: where to tell how far it is; default: the screen.

        Raises:
            TransferkitError: something that the user can mend: data, weights, the run folder, a diverging loss.
            Preempted: SIGTERM came; there is a checkpoint.
        """
        from transferkit.bundle.opening import default_run_dir
        from transferkit.bundle.unfinished import check_run_dir
        from transferkit.train.cluster import find_cluster, ignored_cluster, spans_processes
        from transferkit.train.peers import meet_peers

        recipe, runtime = self.recipe, self.recipe.runtime
        cluster = find_cluster(os.environ, strategy=runtime.strategy, backend=runtime.backend)
        self._start_keras()
        with on_sigterm() as stop, meet_peers(cluster, recipe_digest=_digest(recipe), stop=stop) as peers:
            if peers.is_chief:
                run_dir = Path(run_dir) if run_dir else default_run_dir(recipe, resume=resume)
                check_run_dir(run_dir, recipe=recipe, overwrite=overwrite, resume=resume)
            told = StoppableProgress(progress or ConsoleProgress(), stop) if peers.is_chief else Quiet()
            alone = not spans_processes(strategy=runtime.strategy, backend=runtime.backend)
            if alone and (note := ignored_cluster(os.environ)):
                told.say(f"warning: {note}")
            result = self._run(
                Path(peers.broadcast(str(run_dir))),
                peers,
                overwrite=overwrite,
                resume=resume,
                progress=told,
            )
            if result.interrupted and cluster:
                raise KeyboardInterrupt  # so that the other processes hear of it
            return result

    def _run(self, run_dir: Path, peers: "Peers", *, overwrite: bool, resume: bool, progress: Progress) -> RunResult:
        """The run itself, in each of its processes alike; all but the chief write into a scratch folder."""
        from transferkit.bundle import run_folder
        from transferkit.bundle.opening import folder_of
        from transferkit.bundle.versions import collect_versions
        from transferkit.data.balance import balance_training
        from transferkit.data.load import load_data
        from transferkit.data.source import list_source
        from transferkit.doctor.quick import describe_findings, quick_findings
        from transferkit.evaluate.evaluate import evaluate_splits
        from transferkit.model.classifier import build_classifier, probability_model
        from transferkit.report.pictures import result_figures, sample_figures, training_figures
        from transferkit.schedule.schedule import resolve_schedule
        from transferkit.train.checkpoint import Checkpoints
        from transferkit.train.journal import check_origin
        from transferkit.train.loop import train
        from transferkit.train.placement import open_strategy
        from transferkit.train.runtime import resolve_precision

        recipe = self.recipe
        strategy = open_strategy(recipe.runtime, peers.cluster)
        if recipe.data.batch_size < strategy.num_replicas:
            raise RuntimeSetupError(
                f"data.batch_size is {recipe.data.batch_size}, too small to be divided among {strategy.num_replicas} "
                "devices.\nRaise it, or use fewer devices."
            )
        for warning in warnings_for(recipe):
            progress.say(Remark(f"warning: {warning}"))
        spec, precision = BACKBONES[recipe.model.backbone], resolve_precision(recipe.runtime.precision)
        shape = {"image_size_px": recipe.data.image_size, "seed": recipe.seed, "precision": precision}
        if any(phase.train.kind in _NAMES_LAYERS for phase in recipe.phases):
            self._check_layer_names(shape)
        listing = list_source(recipe.data, multi_label=recipe.multi_label, arrays=self.arrays)

        def build(num_classes: int) -> "Classifier":
            with strategy.scope():
                recompute = recipe.runtime.recompute
                return build_classifier(recipe.model, spec, num_classes=num_classes, recompute=recompute, **shape)

        classifier = build(len(listing.class_names))  # first, since weights may be missing
        data = load_data(
            listing,
            recipe.data,
            cache=recipe.cache,
            seed=recipe.seed,
            need_test="test" in recipe.evaluate,
            progress=progress,
            margin=recipe.margin,
        )
        if len(data.class_names) < len(listing.class_names):
            classifier = build(len(data.class_names))
        balance = balance_training(data, recipe.data)
        findings = quick_findings(data, listing, recipe.data, cache=recipe.cache, progress=progress)
        for line in filter(None, (data.describe(), balance.describe(), *describe_findings(findings))):
            progress.say(line)
        schedule = resolve_schedule(
            recipe.phases,
            stages=classifier.stages,
            steps_per_epoch=balance.steps_per_epoch(recipe.data.batch_size),
            augment=bool(recipe.augment),
        )

        is_chief = strategy.process == 0
        with folder_of(run_dir, recipe, is_chief=is_chief, overwrite=overwrite, resume=resume) as folder:
            peers.barrier("run folder")  # the chief has removed checkpoints of a run that is replaced
            checkpoints = Checkpoints(run_dir / run_folder.CHECKPOINTS)
            check_origin(checkpoints, classifier, data)
            run_folder.write_json(folder / "versions.json", collect_versions(recipe, precision, strategy))
            run_folder.write_data(folder, data)
            run_folder.write_balance(folder, balance)
            run_folder.write_findings(folder, findings)
            run_folder.write_figures(folder, sample_figures(data, recipe))

            training = train(
                classifier,
                data,
                schedule,
                recipe=recipe,
                precision=precision,
                strategy=strategy,
                progress=progress,
                checkpoints=checkpoints,
            )
            run_folder.write_history(folder, training.epochs)
            run_folder.write_watch(folder, training.watch)
            model = probability_model(classifier.network, multi_label=recipe.multi_label)
            if training.best:
                run_folder.write_model(folder, model)
                run_folder.write_figures(folder, training_figures(training))
            elif is_chief and checkpoints.is_empty:
                run_folder.remove_run_dir(run_dir)  # nothing is trained, and the name is free for the next try
            if training.error:
                kept = f"\nWhat was reached before is in {run_dir}." if training.best else ""
                raise type(training.error)(f"{training.error}{kept}") from training.error
            rows = tuple(training.epochs), tuple(training.watch)
            ended_early = RunResult(run_dir, {}, *rows, training.best, model, interrupted=True)
            if training.interrupted:
                return ended_early
            try:
                found = evaluate_splits(model, data, recipe, strategy=strategy, progress=progress)
            except KeyboardInterrupt:
                return ended_early
            run_folder.write_predictions(folder, data, found)
            run_folder.write_figures(folder, result_figures(data, found))
            run_folder.write_results(folder, found)
            if is_chief:
                checkpoints.remove()
        return RunResult(run_dir, found.reports, *rows, training.best, model)

    def _start_keras(self) -> None:
        from transferkit.train.runtime import choose_backend

        choose_backend(self.recipe.runtime.backend)

    def _check_layer_names(self, shape: Mapping[str, Any]) -> None:
        """Build the network without weights or data and look up the layers that phases name."""
        from transferkit.model.classifier import build_classifier
        from transferkit.schedule.schedule import resolve_schedule

        spec = BACKBONES[self.recipe.model.backbone]
        classifier = build_classifier(self.recipe.model, spec, num_classes=2, load=False, **shape)
        resolve_schedule(self.recipe.phases, stages=classifier.stages, steps_per_epoch=1, augment=False)


def _digest(recipe: Recipe) -> str:
    return hashlib.sha256(recipe_to_yaml(recipe).encode()).hexdigest()
