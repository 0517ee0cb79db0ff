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

    def make(*phases: dict, weights: str = "none", source: dict | None = None, **settings):
        defaults = {"name": "one", "train": "head", "epochs": 2, "learning_rate": 1e-2}
        data = {
            "source": source or {"folder": str(picture_folder)},
            "split": {"validation": 0.25, "test": 0.25},
            "image_size": 32,
            "batch_size": 5,
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
    monkeypatch.setattr("transferkit.plan._MAX_STEPS", 4)


@pytest.fixture
def no_download(monkeypatch):
    """No weights are loaded, and no file is fetched."""

    def refuse(*_, **__):
        raise AssertionError("a plan must not load weights")

    monkeypatch.setattr("transferkit.model.classifier.load_weights", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)


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
    ],
    ids=["constant", "ramp", "cosine", "ramp and step", "plateau", "stage decay"],
)
def test_plan_tells_the_learning_rate_in_words(make_tuner, settings, line):
    text = str(make_tuner(settings).plan())

    assert re.search(r"^  rate    (.*)$", text, re.MULTILINE)[1] == line


def test_plan_tells_what_is_frozen_and_how_often_it_runs(make_tuner):
    phases = {"augment": False}, {}, {"train": {"last_stages": 3}, "augment": False}, {"train": "all"}

    text = str(make_tuner(*phases, augment=["flip"]).plan())

    # 18 pictures train or validate; 512 numbers enter the head, 8 x 8 x 128 enter stage 2. Each has 4 bytes.
    assert re.findall(r"^  frozen  (.*)$", text, re.MULTILINE) == [
        "stage 0 to 4, computed once (0.0 MB of outputs kept)",
        "stage 0 to 4, computed for every augmented picture",
        "stage 0 to 1, computed once (0.6 MB of outputs kept)",
        "no whole stage",
    ]


def test_plan_counts_features_once_that_two_phases_share(make_tuner):
    plan = make_tuner({}, {"name": "two"}, {"train": {"last_stages": 1}}, {"name": "four"}).plan()

    assert [one.num_once for one in plan.phases] == [18, 0, 18, 18]  # the third one makes the head's out of date
    assert plan.phases[1].frozen == "stage 0 to 4, computed before"


def test_plan_says_when_features_do_not_fit_into_memory(make_tuner, monkeypatch):
    monkeypatch.setattr("transferkit.train.features._MEMORY_SHARE", 0.0)

    (phase,) = make_tuner({"train": {"last_stages": 4}}).plan().phases

    # 16 x 16 x 64 numbers of 4 bytes for each of 18 pictures: 1.1 MB
    assert phase.frozen == "stage 0, computed in every epoch: 1 MB of outputs do not fit into the free memory"
    assert (phase.num_once, phase.num_again) == (0, 18)


def test_plan_tells_optimizer_clipping_augmentation_and_early_stopping(make_tuner):
    settings = {"optimizer": "sgd", "weight_decay": 0.01, "clip_norm": 2, "early_stopping": {"patience": 4}}

    phases = {"epochs": 9, **settings}, {"name": "two", "augment": False}
    text = str(make_tuner(*phases, augment=["flip", {"rotate": 5}]).plan())

    assert "phase one: 9 epochs, 27 steps, ends after 4 epochs without a better one\n" in text
    assert "  with    sgd, weight decay 0.01, gradients clipped to norm 2; flip, rotate\n" in text
    assert "  with    adamw, weight decay 0.004; no augmentation\n" in text


def test_plan_loads_no_weights_and_needs_no_network(make_tuner, no_download):
    plan = make_tuner({}, weights="imagenet").plan(measure=True)

    assert plan.phases[0].epoch_s > 0


def test_measured_plan_has_times_for_every_phase_and_their_sum(make_tuner):
    plan = make_tuner({"augment": False}, {"train": {"last_stages": 1}, "batch_norm": "train"}, augment=["flip"]).plan(
        measure=True
    )

    assert all(one.epoch_s > 0 and one.once_s > 0 for one in plan.phases)
    assert str(plan).count(" per epoch, after ") == 2
    assert "training takes about" in str(plan).splitlines()[-1]


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
