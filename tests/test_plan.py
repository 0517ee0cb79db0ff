"""What a run would do: the numbers are those that training would have, and nothing is downloaded for them."""

import re

import pytest

from transferkit.errors import RecipeError

pytestmark = pytest.mark.model

# VGG16: its last stage has three 3 x 3 convolutions from 512 to 512 channels.
LAST_STAGE = 3 * (3 * 3 * 512 * 512 + 512)
HEAD = 512 * 3 + 3
ALL_BUT_HEAD = 14_714_688  # as keras.applications documents it, without the top


@pytest.fixture
def make_tuner(picture_folder):
    """A fine-tuner of VGG16 at 32 px on 3 classes of 8 pictures: 12 train, 6 validate, 6 test, in batches of 5."""
    from transferkit import FineTuner

    def make(*phases: dict, weights: str = "none", source: dict | None = None, data: dict | None = None, **settings):
        defaults = {"name": "one", "train": "head", "epochs": 2, "learning_rate": 1e-2}
        data = {
            "source": source or {"folder": str(picture_folder)},
            "split": {"validation": 0.25, "test": 0.25},
            "image_size": 32,
            "batch_size": 5,
            **(data or {}),
        }
        return FineTuner(
            data,
            backbone="vgg16",
            model={"weights": weights},
            phases=[{**defaults, **phase} for phase in phases],
            **settings,
        )

    return make


@pytest.fixture(autouse=True)
def quick_measurements(monkeypatch):
    monkeypatch.setattr("transferkit.planning.measure._MAX_STEPS", 4)


@pytest.fixture
def no_download(monkeypatch):
    """No weights are loaded, and no file is fetched."""

    def refuse(*_, **__):
        raise AssertionError("a plan must not load weights")

    monkeypatch.setattr("transferkit.model.classifier.load_weights", refuse)
    monkeypatch.setattr("requests.get", refuse)


def test_plan_counts_what_trains_and_the_steps(make_tuner):
    plan = make_tuner({}, {"train": {"last_stages": 1}, "epochs": 4}, {"train": "all"}).plan()

    assert dict(plan.num_pictures) == {"train": 12, "validation": 6, "test": 6}
    assert [one.num_parameters for one in plan.phases] == [HEAD, LAST_STAGE + HEAD, ALL_BUT_HEAD + HEAD]
    assert [one.num_steps for one in plan.phases] == [6, 12, 6]
    assert [one.stages for one in plan.phases[:2]] == [("head",), ("stage 4", "head")]
    assert plan.num_parameters == ALL_BUT_HEAD + HEAD
    assert [(stage.name, stage.end) for stage in plan.stages[-2:]] == [("stage 4", "block5_pool"), ("head", "logits")]


def test_plan_unfolds_gradual_phases(make_tuner):
    plan = make_tuner({"train": {"gradual": {"every_epochs": 1, "first": 0}}, "epochs": 3}).plan()

    assert [one.stages[0] for one in plan.phases] == ["head", "stage 4", "stage 3"]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "1.0e-02"),
        ({"ramp_epochs": 1}, "rises from 3.3e-03 to 1.0e-02"),
        ({"schedule": "cosine"}, "1.0e-02 at first, falls to 6.7e-04 (cosine)"),
        (
            {"schedule": {"step": {"every_epochs": 1, "factor": 0.5}}, "ramp_epochs": 0.7},
            "rises from 5.0e-03 to 1.0e-02, then falls to 5.0e-03 (step)",
        ),
        ({"schedule": {"plateau": {"factor": 0.2}}}, "1.0e-02, times 0.2 after 3 epochs without a better one"),
        ({"train": {"last_stages": 2}, "stage_decay": 0.5}, "1.0e-02; times 0.25 in stage 3, times 0.5 in stage 4"),
        # Three convolutions in the last stage; the head has the whole rate.
        ({"train": {"last_stages": 1}, "layer_decay": 0.5}, "1.0e-02; times 0.125 to 0.5 in stage 4"),
        (
            {"train": {"last_stages": 1}, "layer_decay": 0.5, "stage_decay": 0.5},
            "1.0e-02; times 0.0625 to 0.25 in stage 4",
        ),
    ],
    ids=["constant", "ramp", "cosine", "ramp and step", "plateau", "stage decay", "layer decay", "both decays"],
)
def test_plan_tells_the_learning_rate_in_words(make_tuner, settings, line):
    text = str(make_tuner(settings).plan())

    assert re.search(r"^  rate    (.*)$", text, re.MULTILINE)[1] == line


def frozen_lines(plan) -> list[str]:
    return re.findall(r"^  frozen  (.*)$", str(plan), re.MULTILINE)


def test_plan_tells_what_is_frozen_and_how_often_it_runs(make_tuner):
    phases = {"augment": False}, {}, {"name": "three", "train": {"last_stages": 3}, "augment": False}, {"train": "all"}

    plan = make_tuner(*phases, augment=["flip"]).plan()

    # 12 pictures train, 6 validate; 512 numbers enter the head, 8 x 8 x 128 enter stage 2. Each has 4 bytes.
    assert frozen_lines(plan) == [
        "stage 0 to 4, computed once, and what three needs (0.6 MB on disk)",
        "stage 0 to 4, computed for every augmented picture",
        "stage 0 to 1, computed before",
        "no whole stage",
    ]


def test_plan_tells_the_disk_that_validation_takes_where_training_is_augmented(make_tuner):
    plan = make_tuner({"train": {"last_stages": 3}}, augment=["flip"]).plan()

    # 8 x 8 x 128 numbers of 4 bytes for each of 6 pictures: 0.2 MB
    assert frozen_lines(plan) == [
        "stage 0 to 1, computed for every augmented picture; for validation once (0.2 MB on disk)"
    ]


def test_plan_counts_one_pass_for_phases_that_share_the_frozen_part(make_tuner):
    plan = make_tuner({}, {"name": "two"}, {"train": {"last_stages": 1}}, {"name": "four"}).plan()

    # The third one's are computed with the first one's; it makes the head's out of date.
    assert [one.features.num_once for one in plan.phases] == [18, 0, 0, 18]
    assert frozen_lines(plan)[1:3] == ["stage 0 to 4, computed before", "stage 0 to 3, computed before"]


def test_plan_counts_a_pass_for_each_view(make_tuner):
    (phase,) = (plan := make_tuner({"views": 3, "epochs": 5}, augment=["flip"]).plan()).phases

    assert phase.features.num_once == 6 + 3 * 12
    assert frozen_lines(plan) == ["stage 0 to 4, computed for 3 augmented versions of each picture (0.1 MB on disk)"]


def test_plan_counts_no_view_that_no_epoch_reaches(make_tuner):
    (phase,) = make_tuner({"views": 3, "epochs": 2}, augment=["flip"]).plan().phases

    assert phase.features.num_once == 6 + 2 * 12


def test_plan_says_that_nothing_is_stored_where_the_recipe_says_so(make_tuner):
    plan = make_tuner({"train": {"last_stages": 4}}, cache={"features": "none"}).plan()

    assert frozen_lines(plan) == ["stage 0, computed in every epoch (cache.features: none)"]
    assert (plan.phases[0].features.num_once, plan.phases[0].features.num_again) == (0, 18)


def test_plan_says_when_features_are_more_than_the_cache_may_hold(make_tuner):
    # 16 x 16 x 64 numbers of 4 bytes: 0.4 MB for the 6 pictures that validate, 0.8 MB for the 12 that train
    plan = make_tuner({"train": {"last_stages": 4}}, cache={"max_gb": 0.0009}).plan()

    (features,) = (one.features for one in plan.phases)
    assert frozen_lines(plan) == ["stage 0, computed in every epoch: 1 MB are more than cache.max_gb: 0.0009 allows"]
    assert (features.num_once, features.num_again) == (6, 12)


def test_half_precision_halves_the_disk(make_tuner):
    plans = [make_tuner({}, cache={"precision": precision}).plan() for precision in ("float32", "float16")]

    whole, half = (one.phases[0].features.disk_mb for one in plans)
    # Beside the numbers stands an entry of the index for each picture.
    assert whole - half == pytest.approx(18 * 512 * 2 / 2**20)


@pytest.fixture
def told():
    """Progress that keeps of how many pictures a run computes features, pass by pass."""
    from transferkit.progress import Quiet

    class Keeps(Quiet):
        def __init__(self) -> None:
            self.counts = []

        def task(self, what, total, unit=""):
            if what.startswith("features"):
                self.counts.append(total)
            return super().task(what, total, unit)

    return Keeps()


def test_a_run_computes_the_features_that_its_plan_counts(make_tuner, told, tmp_path):
    shared = {"epochs": 1, "optimizer": "sgd"}
    phases = (
        {"augment": False},
        {"name": "views", "views": 2, "epochs": 3},
        {"train": {"last_stages": 1}, "augment": False},
        {"name": "again", "augment": False},
    )
    tuner = make_tuner(*({**shared, **one} for one in phases), augment=["flip"])

    tuner.run(tmp_path / "run", progress=told)

    assert sum(told.counts) == sum(one.features.num_once for one in tuner.plan().phases) == 18 + 2 * 12 + 18


def test_plan_tells_optimizer_clipping_augmentation_and_early_stopping(make_tuner):
    settings = {"optimizer": "sgd", "weight_decay": 0.01, "clip_norm": 2, "early_stopping": {"patience": 4}}

    phases = {"epochs": 9, **settings}, {"name": "two", "augment": False}
    text = str(make_tuner(*phases, augment=["flip", {"rotate": 5}]).plan())

    assert "phase one: 9 epochs, 27 steps, ends after 4 epochs without a better one\n" in text
    assert "  with    sgd, weight decay 0.01, gradients clipped to norm 2; flip, rotate\n" in text
    assert "  with    adamw, weight decay 0.004; no augmentation\n" in text


def test_plan_tells_what_else_moves_weights(make_tuner):
    text = str(make_tuner({"l2_sp": 0.01, "ema": 0.99, "decay": "all"}).plan())

    assert (
        "  with    adamw, weight decay 0.004 on all weights, pulled to the start by 0.01, "
        "weights also averaged with momentum 0.99; no augmentation\n"
    ) in text


@pytest.mark.parametrize(
    ("runtime", "devices", "environ", "line"),
    [
        ({}, 1 * ["CPU"], {}, "1 CPU, float32"),
        ({"gradient_accumulation_steps": 2}, 1 * ["CPU"], {}, "1 CPU, float32, each batch in 2 parts"),
        ({}, 4 * ["GPU"], {}, "4 GPUs (mirrored), 1.25 of 5 pictures each, float32"),
        ({"strategy": "single"}, 4 * ["GPU"], {}, "1 GPU, float32"),
        ({"strategy": "multi_worker"}, 2 * ["GPU"], {},
         "2 GPUs on each machine (multi_worker; nothing says how many there are), float32"),
        ({"strategy": "multi_worker"}, 2 * ["GPU"],
         {"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'},
         "2 processes of 2 GPUs (multi_worker), 1.25 of 5 pictures each, float32"),
    ],
    ids=["CPU", "parts", "several GPUs", "one of several", "unknown machines", "two machines"],
)  # fmt: skip
def test_plan_tells_where_a_run_would_compute(make_tuner, monkeypatch, runtime, devices, environ, line):
    from transferkit.train.runtime import Device

    monkeypatch.setattr("transferkit.plan.list_devices", lambda: [Device(kind, kind) for kind in devices])
    for name in ("TF_CONFIG", "TRANSFERKIT_CLUSTER", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    plan = make_tuner({}, runtime={"precision": "float32", **runtime}).plan()

    assert re.search(r"^runs on   (.*)$", str(plan), re.MULTILINE)[1] == line


def test_planned_replicas_are_those_of_the_strategy_that_opens(make_tuner):
    from transferkit.train.placement import open_strategy

    tuner = make_tuner({})

    strategy = open_strategy(tuner.recipe.runtime)
    placement = tuner.plan().placement
    assert (placement.strategy, placement.num_replicas) == (strategy.name, strategy.num_replicas)


def test_plan_loads_no_weights_and_needs_no_network(make_tuner, no_download):
    plan = make_tuner({}, weights="imagenet").plan(measure=True)

    assert plan.phases[0].epoch_s > 0


def test_measured_plan_has_times_for_every_phase_and_their_sum(make_tuner):
    phases = {"augment": False}, {"train": {"last_stages": 1}, "ema": 0.9}, {"views": 2}

    plan = make_tuner(*phases, augment=["flip"]).plan(measure=True)

    assert all(one.epoch_s > 0 and one.once_s > 0 for one in plan.phases)
    assert str(plan).count(" per epoch, after ") == 3
    assert "training takes about" in str(plan).splitlines()[-1]


def test_measuring_stores_nothing(make_tuner, tmp_path):
    make_tuner({"views": 2}, augment=["flip"], cache={"folder": str(tmp_path / "cache")}).plan(measure=True)

    assert not (tmp_path / "cache").exists()


def test_measuring_survives_rates_and_weights_that_would_diverge(make_tuner, monkeypatch):
    from transferkit import plan as module

    build = module.build_classifier

    def build_huge(*arguments, **options):
        classifier = build(*arguments, **options)
        for variable in classifier.network.weights[-4:]:
            variable.assign(variable + 1e30)
        return classifier

    monkeypatch.setattr(module, "build_classifier", build_huge)
    plan = make_tuner({"learning_rate": 1e30, "optimizer": "sgd"}).plan(measure=True)

    assert plan.phases[0].epoch_s > 0


@pytest.mark.parametrize("measure", [False, True])
def test_plan_of_data_that_is_not_there_yet_leaves_the_steps_open(make_tuner, tmp_path, no_download, measure):
    source = {"tfds": "tf_flowers", "data_dir": str(tmp_path / "empty")}

    plan = make_tuner({"ramp_epochs": 1}, weights="imagenet", source=source).plan(measure=measure)

    assert plan.num_pictures is None
    assert plan.phases[0].num_steps is None
    assert plan.phases[0].num_parameters == 512 * 2 + 2
    text = str(plan)
    assert "data      not on this machine yet" in text
    assert "phase one: 2 epochs, steps not known yet\n" in text
    assert "rises from about 1.0e-04 to 1.0e-02" in text
    assert ("times are measured once the data is on this machine" in text) == measure
    assert not (tmp_path / "empty").exists()


def test_plan_refuses_a_layer_that_the_network_does_not_have(make_tuner):
    with pytest.raises(RecipeError, match=r"phases\[0\].train.from_layer: 'block5_conv4' is not a layer"):
        make_tuner({"train": {"from_layer": "block5_conv4"}}).plan()


def test_plan_in_a_notebook_shows_names_as_text(make_tuner):
    markup = make_tuner({"name": "<b>bold</b>"}).plan()._repr_html_()

    assert "<b>" not in markup
    assert "phase &lt;b&gt;bold" in markup


def test_plan_counts_the_steps_of_oversampled_epochs(make_tuner, picture_folder):
    for path in sorted((picture_folder / "class_2").iterdir())[4:]:
        path.unlink()

    plain, more = make_tuner({}).plan(), make_tuner({}, data={"imbalance": "oversample"}).plan(measure=True)

    # Classes of 8, 8 and 4 pictures, half of each for training: 4 + 4 + 2, and 3 x 4.
    assert [plan.phases[0].phase.steps_per_epoch for plan in (plain, more)] == [2, 3]
    assert "3 steps of 5 per epoch" in str(more)


def test_plan_measures_pictures_of_several_classes(make_tuner, picture_folder, tmp_path):
    rows = [f"{path},{';'.join({path.parent.name, 'class_0'})}" for path in sorted(picture_folder.rglob("*.png"))]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows))

    plan = make_tuner({}, source={"csv": str(tmp_path / "labels.csv")}, loss="binary_cross_entropy").plan(measure=True)

    assert plan.num_pictures["train"] == 12
    assert plan.phases[0].epoch_s > 0
