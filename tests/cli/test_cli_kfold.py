"""`--fold` and `--kfold` of `transferkit finetune`."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from transferkit.cli import quiet
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
    seen = []

    def run(self, *_, **__):
        seen.append(self.recipe.data.split.fold)
        return SimpleNamespace(interrupted=False, report={}, best=SimpleNamespace(epoch=1), run_dir="out")

    monkeypatch.setattr(FineTuner, "run", run)

    assert invoke("--fold", "2/5").exit_code == 0
    assert seen == ["2/5"]


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
    command = f"transferkit finetune quickstart --set seed=4 --kfold 3 --run-dir {tmp_path / 'out'} --resume"
    assert command in result.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--kfold", 5, "--fold", "1/5"), RecipeError),
        (("--kfold", 5, "--set", "data.split.fold=1/5"), RecipeError),
        (("--fold", "6/5"), RecipeError),
        (("--kfold", 5, "--workers", 2), RuntimeSetupError),
    ],
)
def test_what_cannot_go_together_is_refused(invoke, arguments, error):
    assert isinstance(invoke(*arguments).exception, error)
