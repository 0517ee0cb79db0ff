"""What a recipe's runtime and phases must fulfil together: configurations that could not be right are refused."""

import importlib.util

import pytest

from transferkit.backbones.table import BACKBONES
from transferkit.check import check_draft, warnings_for
from transferkit.errors import RecipeError
from transferkit.recipe.draft import draft_values

PHASE = {"name": "p", "train": "head", "epochs": 4, "learning_rate": 1e-3}
VIEWS = {**PHASE, "train": {"last_stages": 2}, "views": 3}


@pytest.fixture(autouse=True)
def jax_is_installed(monkeypatch):
    """JAX is an extra; what a recipe for it must be like does not depend on whether this machine has it."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax" or found(name))


def checked(phase=PHASE, **sections):
    return check_draft(draft_values({"data": {"source": "sample"}, "phases": [phase], **sections}, source="test"))


def told(phase=PHASE, **sections):
    with pytest.raises(RecipeError) as caught:
        checked(phase, **sections)
    return [str(problem) for problem in caught.value.problems]


def test_a_backend_that_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert told(runtime={"backend": "jax"}) == [
        'runtime.backend: \'jax\' is not installed; pip install "transferkit[jax]" (in a clone: ".[jax]")'
    ]
    assert checked(runtime={"backend": "tensorflow"})


@pytest.mark.parametrize(
    ("backend", "strategy"),
    [
        *(("tensorflow", strategy) for strategy in ("auto", "single", "mirrored", "multi_worker")),
        *(("jax", strategy) for strategy in ("auto", "single", "data_parallel", "tpu")),
    ],
)
def test_each_backend_has_its_strategies(backend, strategy):
    assert checked(runtime={"backend": backend, "strategy": strategy}).runtime.strategy == strategy


@pytest.mark.parametrize(
    ("backend", "strategy", "reason"),
    [
        ("jax", "mirrored", "it is a part of TensorFlow; on JAX, use data_parallel"),
        ("jax", "multi_worker", "it is a part of TensorFlow; on JAX, use data_parallel, on any number of machines"),
        (
            "tensorflow",
            "data_parallel",
            "on TensorFlow, Keras' DataParallel does nothing; use mirrored, or multi_worker on several machines",
        ),
        ("tensorflow", "tpu", "TPUs are reached through JAX only; set backend: jax"),
    ],
)
def test_a_strategy_of_the_other_backend_is_refused_with_the_reason(backend, strategy, reason):
    assert told(runtime={"backend": backend, "strategy": strategy}) == [
        f"runtime.strategy: '{strategy}' cannot run with backend: {backend}, since {reason}"
    ]


@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_xla_is_refused_where_a_step_holds_sums_over_replicas(strategy):
    assert told(runtime={"strategy": strategy, "xla": "on"}) == [
        f"runtime.xla: 'on' cannot go with strategy: {strategy}, since a step compiled with XLA cannot hold the sums "
        "over replicas; use auto or off"
    ]
    assert checked(runtime={"strategy": strategy, "xla": "auto"})
    assert checked(runtime={"strategy": "single", "xla": "on"})
    assert checked(runtime={"backend": "jax", "strategy": "data_parallel", "xla": "on"})


def test_recomputing_needs_jax():
    assert told(runtime={"recompute": True}) == [
        "runtime.recompute: true needs backend: jax, since Keras' recomputation fails inside TensorFlow's compiled "
        "steps; to save memory here, raise gradient_accumulation_steps"
    ]
    assert checked(runtime={"backend": "jax", "recompute": True})


def test_xla_cannot_be_off_on_jax():
    assert told(runtime={"backend": "jax", "xla": "off"}) == [
        "runtime.xla: 'off' cannot go with backend: jax, which compiles everything with XLA; use auto"
    ]
    assert checked(runtime={"backend": "tensorflow", "xla": "off"})


def test_a_batch_has_a_picture_for_each_of_its_parts():
    data = {"source": "sample", "batch_size": 8}

    assert checked(data=data, runtime={"gradient_accumulation_steps": 8})
    assert told(data=data, runtime={"gradient_accumulation_steps": 9}) == [
        "runtime.gradient_accumulation_steps: 9 is more parts than a batch has pictures (data.batch_size: 8)"
    ]


def test_batch_norm_cannot_learn_from_parts_of_a_batch():
    parts = {"gradient_accumulation_steps": 4}

    assert checked({**PHASE, "batch_norm": "affine"}, runtime=parts)
    assert checked({**PHASE, "batch_norm": "train"}, runtime={"gradient_accumulation_steps": 1})
    assert told(phases=[PHASE, {**PHASE, "batch_norm": "train"}], runtime=parts) == [
        "phases[1].batch_norm: 'train' would normalise each of a batch's 4 parts by itself, unlike the batch; "
        "use frozen or affine, or runtime.gradient_accumulation_steps: 1"
    ]


@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_batch_norm_may_learn_on_several_devices(strategy):
    assert checked({**PHASE, "batch_norm": "train"}, runtime={"strategy": strategy})


def test_views_are_fine_with_something_random_a_frozen_stage_and_a_cache():
    assert checked(VIEWS, augment=["flip"]).phases[0].views == 3
    assert checked(VIEWS, augment=["mixup", "flip"])
    assert checked({**VIEWS, "train": "head"}, augment=["flip"])
    assert checked({**VIEWS, "train": {"pattern": "block"}}, augment=["flip"])


@pytest.mark.parametrize(
    ("phase", "sections", "rule"),
    [
        ({}, {}, "would all be the same, since the recipe's augment is empty"),
        (
            {},
            {"augment": ["mixup"]},
            "would all be the same, since the recipe's augment has nothing but mixup",
        ),
        (
            {"augment": False},
            {"augment": ["flip"]},
            "would all be the same, since this phase has augment: false",
        ),
        ({"augment": False}, {}, "would all be the same, since this phase has augment: false"),
        (
            {},
            {"augment": ["flip", "cutmix"]},
            "cannot go with cutmix, which pastes pixels, where features are stored; leave out one of them",
        ),
        (
            {},
            {"augment": ["flip"], "cache": {"features": "none"}},
            "cannot be stored with cache.features: none; use auto, or leave out views",
        ),
    ],
)
def test_views_that_could_not_be_or_would_not_differ_are_refused(phase, sections, rule):
    assert told({**VIEWS, **phase}, **sections) == [f"phases[0].views: 3 {rule}"]


@pytest.mark.parametrize(
    "train", ["all", "bias", "norm", {"last_stages": 5}, {"gradual": {"every_epochs": 1, "first": 5}}]
)
def test_views_need_a_frozen_stage(train):
    assert told({**VIEWS, "train": train}, augment=["flip"]) == [
        "phases[0].views: 3 needs a frozen stage, whose outputs are stored, "
        "but this phase trains something in every stage"
    ]


@pytest.mark.parametrize("spec", BACKBONES.values(), ids=lambda spec: spec.name)
def test_views_go_with_all_stages_but_one(spec):
    phase = {**VIEWS, "train": {"last_stages": spec.num_stages - 1}}

    assert checked(phase, model={"backbone": spec.name}, augment=["flip"])


def test_all_that_is_wrong_with_a_runtime_and_its_phases_is_told_at_once():
    problems = told(
        phases=[{**VIEWS, "train": "all", "batch_norm": "train"}],
        runtime={"strategy": "tpu", "xla": "on", "gradient_accumulation_steps": 64},
        cache={"features": "none"},
    )

    assert sorted(one.partition(": ")[0] for one in problems) == [
        "phases[0].batch_norm",
        "phases[0].views",
        "phases[0].views",
        "phases[0].views",
        "runtime.gradient_accumulation_steps",
        "runtime.strategy",
    ]


@pytest.mark.parametrize(
    ("phase", "sections", "problem"),
    [
        (PHASE, {"runtime": {"backend": "jacks", "strategy": "tpu"}}, "runtime.backend"),
        (PHASE, {"runtime": {"backend": "jax", "xla": "of"}}, "runtime.xla"),
        (PHASE, {"runtime": {"strategy": "miror", "xla": "on"}}, "runtime.strategy"),
        (PHASE, {"data": {"source": "sample", "batch_size": 0},
                 "runtime": {"gradient_accumulation_steps": 64}}, "data.batch_size"),
        ({**PHASE, "batch_norm": "trian"}, {"runtime": {"gradient_accumulation_steps": 4}}, "phases[0].batch_norm"),
        (VIEWS, {"augment": ["flipp"]}, "augment[0]"),
        (VIEWS, {"augment": "flip"}, "augment"),
        ({**VIEWS, "augment": 0}, {"augment": ["flip"]}, "phases[0].augment"),
        ({**VIEWS, "train": "al"}, {"augment": ["flip"]}, "phases[0].train"),
        ({**VIEWS, "train": "all", "views": 0}, {}, "phases[0].views"),
        (VIEWS, {"augment": ["flip"], "cache": {"features": "nine"}}, "cache.features"),
        (VIEWS, {"augment": ["flip"], "cache": "none"}, "cache"),
    ],
)  # fmt: skip
def test_rules_wait_for_values_that_are_at_fault_themselves(phase, sections, problem):
    (found,) = told(phase, **sections)

    assert found.startswith(f"{problem}: ")


def test_a_fault_in_one_phase_does_not_silence_the_rules_for_another():
    problems = told(phases=[{**VIEWS, "augment": 0}, {**VIEWS, "train": "all"}], augment=["flip"])

    assert [one.partition(": ")[0] for one in problems] == ["phases[0].augment", "phases[1].views"]


def test_views_that_no_epoch_would_use_are_warned_about():
    (warning,) = warnings_for(checked({**VIEWS, "views": 9}, augment=["flip"]))

    assert warning == (
        "phases[0] (p): 9 views are stored but each epoch uses one, so 5 would never be used; set views: 4 or fewer"
    )
    assert warnings_for(checked({**VIEWS, "views": 4}, augment=["flip"])) == ()


def test_l2_sp_of_a_head_alone_is_warned_about():
    (warning,) = warnings_for(checked({**PHASE, "l2_sp": 0.1}))

    assert (
        warning == "phases[0] (p): l2_sp has nothing to pull back, since nothing of the backbone trains; leave it out"
    )
    assert warnings_for(checked({**PHASE, "train": {"last_stages": 1}, "l2_sp": 0.1})) == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_decay": 0.8, "stage_decay": 0.5},
        {"ema": 0.99, "train": {"gradual": 1}, "schedule": "plateau"},
        {"decay": "all", "train": "all", "optimizer": "sgd"},
    ],
)
def test_what_goes_well_together_is_neither_refused_nor_warned_about(settings):
    assert warnings_for(checked({**PHASE, **settings}, runtime={"strategy": "mirrored"})) == ()


# Losses and balance


SEVERAL = {"loss": "binary_cross_entropy", "data": {"source": {"csv": "labels.csv"}}}


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_mean_average_precision_is_monitored_for_several_classes_alone(loss):
    assert told(loss=loss, monitor="val_map") == [
        "monitor: 'val_map' is measured with loss: binary_cross_entropy alone; use val_accuracy or val_loss"
    ]
    assert checked(**SEVERAL, monitor="val_map").monitor == "val_map"


@pytest.mark.parametrize("kind", ["class_weight", "oversample", "effective_number"])
def test_classes_that_a_picture_may_share_are_not_balanced(kind):
    (problem,) = told(loss="binary_cross_entropy", data={**SEVERAL["data"], "imbalance": kind})

    assert problem.startswith(f"data.imbalance: '{kind}' balances classes that exclude each other")
    assert checked(data={**SEVERAL["data"], "imbalance": kind}).data.imbalance.kind == kind
