"""What a recipe's values must fulfil together and against the tables; see `check` for when each is asked."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Final

from transferkit.backbones.spec import BackboneSpec
from transferkit.backbones.table import BACKBONES
from transferkit.errors import NOTHING, Problem
from transferkit.recipe.phases import Gradual, LastStages, PhaseSpec
from transferkit.recipe.recipe import Recipe

Rule = Callable[[Recipe], Iterator[Problem]]
# The path of its problems starts at the phase.
PhaseRule = Callable[[Recipe, PhaseSpec], Iterator[Problem]]

_TF_DISTRIBUTE = ("mirrored", "multi_worker")
_ONE_CLASS_EACH = ("folder", "archive", "sample", "tfds")
# The backend that each strategy needs, and what to do about the other one.
_BACKEND_OF: Final = {
    "mirrored": ("tensorflow", "it is a part of TensorFlow; on JAX, use data_parallel"),
    "multi_worker": ("tensorflow", "it is a part of TensorFlow; on JAX, use data_parallel, on any number of machines"),
    "data_parallel": (
        "jax",
        "on TensorFlow, Keras' DataParallel does nothing; use mirrored, or multi_worker on several machines",
    ),
    "tpu": ("jax", "TPUs are reached through JAX only; set backend: jax"),
}


def backbone_is_known(recipe: Recipe) -> Iterator[Problem]:
    if recipe.model.backbone not in BACKBONES:
        yield Problem("model.backbone", recipe.model.backbone, "is not a known backbone", tuple(BACKBONES))


def weights_are_there(recipe: Recipe) -> Iterator[Problem]:
    if recipe.model.weights in ("imagenet", "none"):
        return
    # Reading weights takes NumPy and more, which most recipes can be checked without.
    from transferkit.backbones.weights import check_weights_path

    if rule := check_weights_path(recipe.model.weights):
        yield Problem("model.weights", recipe.model.weights, rule)


def image_is_large_enough(recipe: Recipe) -> Iterator[Problem]:
    spec, size_px = _backbone(recipe), recipe.data.image_size
    if spec and size_px is not None and size_px < spec.min_size_px:
        yield Problem("data.image_size", size_px, f"is below the smallest size of {spec.name}, {spec.min_size_px} px")


def splits_leave_training_pictures(recipe: Recipe) -> Iterator[Problem]:
    split = recipe.data.split
    test = 1 / int(split.fold.split("/")[1]) if split.fold else split.test
    if not split.manifest and split.validation + test >= 1:
        what = f"fold: {split.fold} (1 of {round(1 / test)})" if split.fold else f"test ({split.test:g})"
        both = f"validation ({split.validation:g}) and {what}"
        yield Problem("data.split", NOTHING, f"{both} leave nothing to train on; together they must be below 1")


def splits_are_decided_once(recipe: Recipe) -> Iterator[Problem]:
    split, groups_alike = recipe.data.split, recipe.data.duplicates == "group"
    if split.manifest:
        decided = f"the manifest ({split.manifest}) has put every picture into its split; leave out one of them"
        others = {"split.fold": split.fold, "split.group": split.group}
        others |= {"split.method": "hash" if split.method == "hash" else None}
        others |= {"duplicates": "group" if groups_alike else None}
        for key, given in others.items():
            if given:
                yield Problem(f"data.{key}", given, f"would change nothing: {decided}")
    elif split.method == "hash" and split.fold:
        rule = "divides into equal parts, which pictures that come later would move; use method: stratified with it"
        yield Problem("data.split.fold", split.fold, rule)
    elif split.method == "hash" and groups_alike:
        rule = (
            "cannot go with data.split.method: hash, since a picture that comes later may look like two others and so "
            "move them; use method: stratified, or duplicates: drop"
        )
        yield Problem("data.duplicates", "group", rule)


def results_have_their_split(recipe: Recipe) -> Iterator[Problem]:
    source = recipe.data.source
    own = (
        (source.kind == "folder" and os.path.isdir(os.path.join(source.path, "test")))
        # Which splits a data set has is known only once it is there.
        or (source.kind == "tfds" and (source.splits is None or source.splits.test is not None))
        or source.kind in ("archive", "csv", "jsonl", "parquet")
        or recipe.data.split.fold
        or recipe.data.split.manifest
    )
    if "test" in recipe.evaluate and recipe.data.split.test == 0 and not own:
        rule = "leaves no test split, but evaluate asks for one; raise it, or set evaluate: [validation]"
        yield Problem("data.split.test", 0, rule)


def pictures_may_have_several_classes(recipe: Recipe) -> Iterator[Problem]:
    kind = recipe.data.source.kind
    if recipe.multi_label and kind in _ONE_CLASS_EACH:
        rule = (
            f"is for pictures of several classes, but source: {kind} gives one class each; use csv, jsonl or parquet "
            "with a list in the label column, or loss: cross_entropy"
        )
        yield Problem("loss", "binary_cross_entropy", rule)


def monitor_is_measured(recipe: Recipe) -> Iterator[Problem]:
    if recipe.monitor == "val_map" and not recipe.multi_label:
        rule = "is measured with loss: binary_cross_entropy alone; use val_accuracy or val_loss"
        yield Problem("monitor", "val_map", rule)


def balanced_pictures_have_one_class(recipe: Recipe) -> Iterator[Problem]:
    kind = recipe.data.imbalance.kind
    if kind != "none" and recipe.multi_label:
        rule = (
            "balances classes that exclude each other, but with loss: binary_cross_entropy a picture may have several; "
            "use none, and give pictures weights in the table where some shall count more"
        )
        yield Problem("data.imbalance", kind, rule)


def pictures_can_be_read_when_asked_for(recipe: Recipe) -> Iterator[Problem]:
    if recipe.data.cache == "none" and recipe.data.source.kind == "tfds":
        rule = (
            "reads a picture whenever it is asked for, which TensorFlow Datasets cannot: it reads from the first to "
            "the last; use auto, disk or memory"
        )
        yield Problem("data.cache", "none", rule)


def random_crop_comes_first(recipe: Recipe) -> Iterator[Problem]:
    for index, one in enumerate(recipe.augment):
        if index and one.kind == "random_crop":
            rule = "must come first, and once: what comes after it acts on pictures of the size that the model sees"
            yield Problem(f"augment[{index}]", "random_crop", rule)


def backend_is_installed(recipe: Recipe) -> Iterator[Problem]:
    if recipe.runtime.backend == "jax" and importlib.util.find_spec("jax") is None:
        yield Problem(
            "runtime.backend", "jax", 'is not installed; pip install "transferkit[jax]" (in a clone: ".[jax]")'
        )


def strategy_fits_the_backend(recipe: Recipe) -> Iterator[Problem]:
    runtime = recipe.runtime
    needed, reason = _BACKEND_OF.get(runtime.strategy, (runtime.backend, ""))
    if runtime.backend != needed:
        rule = f"cannot run with backend: {runtime.backend}, since {reason}"
        yield Problem("runtime.strategy", runtime.strategy, rule)


def steps_can_be_compiled_so(recipe: Recipe) -> Iterator[Problem]:
    runtime = recipe.runtime
    if runtime.xla == "on" and runtime.strategy in _TF_DISTRIBUTE:
        rule = (
            f"cannot go with strategy: {runtime.strategy}, since a step compiled with XLA cannot hold the sums over "
            "replicas; use auto or off"
        )
        yield Problem("runtime.xla", "on", rule)
    if runtime.xla == "off" and runtime.backend == "jax":
        yield Problem("runtime.xla", "off", "cannot go with backend: jax, which compiles everything with XLA; use auto")


def activations_can_be_recomputed(recipe: Recipe) -> Iterator[Problem]:
    if recipe.runtime.recompute and recipe.runtime.backend == "tensorflow":
        rule = (
            "needs backend: jax, since Keras' recomputation fails inside TensorFlow's compiled steps; to save memory "
            "here, raise gradient_accumulation_steps"
        )
        yield Problem("runtime.recompute", True, rule)


def parts_of_a_batch_have_pictures(recipe: Recipe) -> Iterator[Problem]:
    parts, batch_size = recipe.runtime.gradient_accumulation_steps, recipe.data.batch_size
    if parts > batch_size:
        rule = f"is more parts than a batch has pictures (data.batch_size: {batch_size})"
        yield Problem("runtime.gradient_accumulation_steps", parts, rule)


def stages_exist(recipe: Recipe, phase: PhaseSpec) -> Iterator[Problem]:
    spec, count = _backbone(recipe), _num_stages_from_the_start(phase)
    if spec and count > spec.num_stages:
        name = "count" if isinstance(phase.train, LastStages) else "first"
        rule = f"is more stages than {spec.name} has ({spec.num_stages}); to train everything, use train: all"
        yield Problem(f"train.{phase.train.kind}.{name}", count, rule)


def norm_layers_exist(recipe: Recipe, phase: PhaseSpec) -> Iterator[Problem]:
    spec = _backbone(recipe)
    if spec and phase.train.kind == "norm" and not spec.has_batch_norm:
        yield Problem("train", "norm", f"has nothing to train: {spec.name} has no batch norm")


def batch_norm_sees_whole_batches(recipe: Recipe, phase: PhaseSpec) -> Iterator[Problem]:
    parts = recipe.runtime.gradient_accumulation_steps
    if parts > 1 and phase.batch_norm == "train":
        rule = (
            f"would normalise each of a batch's {parts} parts by itself, unlike the batch; use frozen or affine, or "
            "runtime.gradient_accumulation_steps: 1"
        )
        yield Problem("batch_norm", "train", rule)


def views_differ(recipe: Recipe, phase: PhaseSpec) -> Iterator[Problem]:
    kinds = {one.kind for one in recipe.augment}
    if not phase.augment:
        fault = "would all be the same, since this phase has augment: false"
    elif "cutmix" in kinds:
        fault = "cannot go with cutmix, which pastes pixels, where features are stored; leave out one of them"
    elif not kinds - {"mixup"}:  # which blends what is stored
        fault = f"would all be the same, since the recipe's augment {'has nothing but mixup' if kinds else 'is empty'}"
    else:
        return
    if phase.views:
        yield Problem("views", phase.views, fault)


def views_are_kept(recipe: Recipe, phase: PhaseSpec) -> Iterator[Problem]:
    if phase.views and recipe.cache.features == "none":
        yield Problem("views", phase.views, "cannot be stored with cache.features: none; use auto, or leave out views")


def views_have_a_frozen_stage(recipe: Recipe, phase: PhaseSpec) -> Iterator[Problem]:
    spec = _backbone(recipe)
    # Each backbone has biases or batch norm in its first stage. What a name or a pattern finds shows only once the
    # network is built; the schedule asks then.
    everywhere = phase.train.kind in ("all", "bias", "norm")
    if phase.views and spec and (everywhere or _num_stages_from_the_start(phase) >= spec.num_stages):
        rule = "needs a frozen stage, whose outputs are stored, but this phase trains something in every stage"
        yield Problem("views", phase.views, rule)


def _num_stages_from_the_start(phase: PhaseSpec) -> int:
    """How many stages a phase trains from its first epoch, where its policy counts them."""
    policy = phase.train
    return policy.count if isinstance(policy, LastStages) else policy.first if isinstance(policy, Gradual) else 0


def _backbone(recipe: Recipe) -> BackboneSpec | None:
    return BACKBONES.get(recipe.model.backbone)


# What each rule reads. A rule whose values are at fault themselves is left out, so that one fault is told once.
RULES: Final[tuple[tuple[Rule, tuple[str, ...]], ...]] = (
    (backbone_is_known, ("model.backbone",)),
    (weights_are_there, ("model.weights",)),
    (image_is_large_enough, ("model.backbone", "data.image_size")),
    (splits_leave_training_pictures, ("data.split",)),
    (splits_are_decided_once, ("data.split", "data.duplicates")),
    (results_have_their_split, ("data.source", "data.split", "evaluate")),
    (pictures_may_have_several_classes, ("data.source", "loss")),
    (monitor_is_measured, ("monitor", "loss")),
    (balanced_pictures_have_one_class, ("data.imbalance", "loss")),
    (pictures_can_be_read_when_asked_for, ("data.cache", "data.source")),
    (random_crop_comes_first, ("augment",)),
    (backend_is_installed, ("runtime.backend",)),
    (strategy_fits_the_backend, ("runtime.backend", "runtime.strategy")),
    (steps_can_be_compiled_so, ("runtime.xla", "runtime.backend", "runtime.strategy")),
    (activations_can_be_recomputed, ("runtime.recompute", "runtime.backend")),
    (parts_of_a_batch_have_pictures, ("runtime.gradient_accumulation_steps", "data.batch_size")),
)
# What each rule reads of the recipe, and of the phase.
PHASE_RULES: Final[tuple[tuple[PhaseRule, tuple[str, ...], tuple[str, ...]], ...]] = (
    (stages_exist, ("model.backbone",), ("train",)),
    (norm_layers_exist, ("model.backbone",), ("train",)),
    (batch_norm_sees_whole_batches, ("runtime.gradient_accumulation_steps",), ("batch_norm",)),
    (views_differ, ("augment",), ("views", "augment")),
    (views_are_kept, ("cache.features",), ("views",)),
    (views_have_a_frozen_stage, ("model.backbone",), ("views", "train")),
)
