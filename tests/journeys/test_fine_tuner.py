"""FineTuner from Python."""

import shutil

import pytest

from transferkit import FineTuner
from transferkit.errors import RecipeError, TrainingError
from transferkit.progress import Quiet

pytestmark = pytest.mark.model


def test_keyword_form_needs_only_a_folder():
    recipe = FineTuner(data="photos/", backbone="resnet50").recipe

    assert recipe.data.source.path == "photos/"
    assert recipe.model.backbone == "resnet50"
    assert recipe.data.image_size == 224
    assert [phase.name for phase in recipe.phases] == ["warm-up", "fine-tune"]


def test_keyword_form_reports_all_faults_like_a_file():
    with pytest.raises(RecipeError) as caught:
        FineTuner(data="photos/", backbone="resnet5", seeed=1)

    assert "did you mean 'resnet50'" in str(caught.value)
    assert "did you mean 'seed'" in str(caught.value)


def test_keyword_form_takes_keys_further_down():
    recipe = FineTuner("photos/", data__image_size=64, data__split__test=0.2, seed=2).recipe

    assert (recipe.data.image_size, recipe.data.split.test, recipe.seed) == (64, 0.2, 2)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ({"bakbone": "vgg16"}, "did you mean 'backbone'?"),
        ({"clas_names": ["a", "b"]}, "did you mean 'class_names'?"),
        ({"image_size": 64}, "'image_size' is not a key here; it belongs to data: write data__image_size=…"),
        ({"epochs": 3}, "'epochs' is not a key here; it belongs to phases"),
    ],
    ids=["backbone", "class_names", "image_size", "epochs"],
)
def test_unknown_keyword_is_told_with_the_right_one(argument, says):
    with pytest.raises(RecipeError) as caught:
        FineTuner("photos/", **argument)

    lines = str(caught.value).splitlines()
    assert lines[1].endswith(says)


def test_overrides_by_keyword_are_checked_like_the_file():
    tuner = FineTuner.from_recipe("quickstart", phases__0__epochs=3, model__backbone="vgg16")

    assert tuner.recipe.phases[0].epochs == 3
    assert tuner.recipe.model.backbone == "vgg16"
    with pytest.raises(RecipeError, match=r"phases\[0\]\.epochs"):
        FineTuner.from_recipe("quickstart", phases__0__epochs=-3)


def test_layer_names_are_checked_before_data_or_weights(tmp_path):
    phases = [{"name": "a", "train": {"from_layer": "blok2b_add"}, "epochs": 1, "learning_rate": 1e-3}]
    tuner = FineTuner(data=tmp_path / "nowhere", phases=phases)

    with pytest.raises(RecipeError, match="block2b_add"):
        tuner.run(tmp_path / "run", progress=Quiet())

    assert not (tmp_path / "run").exists()


def test_a_diverging_loss_ends_the_run_and_keeps_what_was_reached(finished, small_settings, tmp_path):
    folder, _ = finished
    settings = small_settings(folder)
    wild = {"name": "wild", "train": {"last_stages": 1}, "epochs": 3, "learning_rate": 1e30, "optimizer": "sgd"}
    settings["phases"] = [settings["phases"][0], wild]

    with pytest.raises(TrainingError, match="phase 'wild'") as caught:
        FineTuner(**settings).run(tmp_path / "run", progress=Quiet())

    assert "learning rate 1.00e+30" in str(caught.value)
    assert str(tmp_path / "run") in str(caught.value)
    assert (tmp_path / "run" / "model.keras").is_file()
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 4
    assert not (tmp_path / "run" / "results.json").exists()


class _InterruptsAfter(Quiet):
    """Progress that presses Ctrl-C after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def task(self, what, total, unit=""):
        self.counts = unit == "steps"
        return super().task(what, total, unit)

    def advance(self, count=1, note=""):
        if self.counts and count:
            self.steps -= count
            if self.steps == 0:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def interrupted(finished, tmp_path_factory):
    """The finished run's recipe, interrupted in the third epoch: (fine-tuner, run result)."""
    _, undisturbed = finished
    tuner = FineTuner.from_recipe(undisturbed.run_dir / "recipe.yaml")
    return tuner, tuner.run(tmp_path_factory.mktemp("interrupted") / "run", progress=_InterruptsAfter(8))


def test_ctrl_c_keeps_the_whole_epochs_and_leaves_the_test_split_unread(finished, interrupted):
    folder, _ = finished
    _, result = interrupted

    assert result.interrupted
    assert len(result.history) == len(result.watch) == 2
    assert not result.report
    assert (result.run_dir / "model.keras").is_file()
    assert not (result.run_dir / "predictions.csv").exists()
    assert result.predict(folder / "class_0" / "0.png")[0].class_name


def test_a_run_that_was_interrupted_goes_on_to_the_results_of_one_that_was_not(finished, interrupted, tmp_path):
    _, undisturbed = finished
    tuner, begun = interrupted
    run_dir = shutil.copytree(begun.run_dir, tmp_path / "run")

    result = tuner.run(run_dir, resume=True, progress=Quiet())

    assert not result.interrupted
    for name in ("history.csv", "predictions.csv", "results.json"):
        assert (run_dir / name).read_bytes() == (undisturbed.run_dir / name).read_bytes(), name
    assert {path.name for path in run_dir.iterdir()} == {path.name for path in undisturbed.run_dir.iterdir()}
