"""`--fold` and `--kfold` of `transferkit finetune`."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from transferkit.cli import finetune, quiet
from transferkit.cli.app import INTERRUPTED, app
from transferkit.errors import RecipeError, RuntimeSetupError
from transferkit.finetuner import FineTuner
from transferkit.studies import kfold
from transferkit.studies.kfold import KFold
from transferkit.train import runtime

FOLDS = ({"accuracy": 0.5, "log_loss": 1.0}, {"accuracy": 0.75, "log_loss": None})


@pytest.fixture
def invoke(monkeypatch):
    """Runs the command without an engine: folds and runs give what is patched in."""
    monkeypatch.setattr(quiet, "start_engine", lambda runtime: None)
    monkeypatch.setattr(runtime, "choose_backend", lambda backend: None)

    def run(*arguments):
        return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["finetune", "quickstart", *map(str, arguments)])

    return run


def test_fold_is_the_recipes_own_key(invoke, monkeypatch):
    monkeypatch.setattr(finetune, "_results_table", lambda report: "")  # needs Keras
    seen = []

    def run(self, *_, **__):
        seen.append(self.recipe.data.split.fold)
        return SimpleNamespace(interrupted=False, report={}, best=SimpleNamespace(epoch=1), run_dir="out")

    monkeypatch.setattr(FineTuner, "run", run)

    assert invoke("--fold", "2/5").exit_code == 0
    assert seen == ["2/5"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--fold", "0/5"), "--fold, data.split.fold: '0/5' must be <number>/<count>"),
        (("--fold", "2/1"), "--fold, data.split.fold: '2/1' must be"),
        (("--fold", "5"), "--fold, data.split.fold: 5 must be"),
        (("--kfold", "5", "--set", "data.split.method=hash"), "--kfold, data.split.fold: '1/5' divides"),
        (("--set", "data.split.fold=6/5"), "--set, data.split.fold: '6/5' must be"),
    ],
)
def test_a_wrong_fold_is_told_of_by_the_option_that_has_it(invoke, arguments, told):
    assert told in str(invoke(*arguments).exception)


def test_kfold_prints_each_fold_the_mean_with_its_spread_and_all_together(invoke, monkeypatch, tmp_path):
    asked = {}

    def run_folds(tuner, count, run_dir, **settings):
        asked.update(settings, count=count)
        return KFold(run_dir, (12, 12), FOLDS, {"accuracy": 0.625, "log_loss": 1.2})

    monkeypatch.setattr(kfold, "run_folds", run_folds)

    result = invoke("--kfold", 2, "--run-dir", tmp_path / "out", "--resume")

    assert result.exit_code == 0, result.output
    assert (asked["count"], asked["resume"], asked["overwrite"]) == (2, True, False)
    lines = [line.split() for line in result.output.splitlines()]
    assert ["2", "12", "75.0%", "–"] in lines
    assert ["mean", "±", "sd", "62.5%", "±", "17.7%", "1.000", "±", "–"] in lines
    assert ["together", "24", "62.5%", "1.200"] in lines
    assert max(map(len, result.output.splitlines()[:-1])) <= 80


def test_interrupted_folds_name_the_command_that_goes_on(invoke, monkeypatch, tmp_path):
    def run_folds(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kfold, "run_folds", run_folds)

    result = invoke("--kfold", 3, "--run-dir", tmp_path / "out", "--set", "seed=4")

    assert result.exit_code == INTERRUPTED
    command = f"transferkit finetune quickstart --kfold 3 --run-dir {tmp_path / 'out'} --resume --set seed=4"
    assert command in result.output


@pytest.mark.parametrize(
    "settings",
    [
        ("data.split.test=0",),
        ("data.split={validation: 0.2, fold: 2/5}",),
        ("data.split.fold=2/5",),
        ("data.split.fold = 2/5",),
        ("data.split.fold=null",),
    ],
)
def test_folds_need_no_test_split_and_take_the_place_of_one_fold(invoke, monkeypatch, tmp_path, settings):
    seen = []

    def run_folds(tuner, *_, **__):
        seen.extend(kfold._of_fold(tuner, number, 3).recipe.data.split.fold for number in (1, 2, 3))
        raise KeyboardInterrupt

    monkeypatch.setattr(kfold, "run_folds", run_folds)

    result = invoke("--kfold", 3, "--run-dir", tmp_path / "out", *(part for one in settings for part in ("--set", one)))

    assert seen == ["1/3", "2/3", "3/3"]
    assert "1/3" not in result.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--kfold", 5, "--fold", "1/5"), RecipeError),
        (("--fold", "6/5"), RecipeError),
        (("--kfold", 5, "--workers", 2), RuntimeSetupError),
    ],
)
def test_what_cannot_go_together_is_refused(invoke, arguments, error):
    assert isinstance(invoke(*arguments).exception, error)
