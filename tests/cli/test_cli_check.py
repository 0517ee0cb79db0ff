"""`transferkit check` and `transferkit recipe`: what is printed where, and the exit code."""

import os
import subprocess
import sys

import pytest

from transferkit.check import load_recipe
from transferkit.cli.app import main
from transferkit.recipe.shipped import shipped_recipes

SOUND = "name: mine\ndata: {source: {folder: photos}}\n"


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """`cli("check", "recipe.yaml")`: exit code, standard output and standard error, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def cli(*arguments):
        monkeypatch.setattr(sys, "argv", ["transferkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return cli


@pytest.fixture
def recipe(tmp_path):
    """`recipe(text)`: the path of a recipe file."""

    def recipe(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_is_sound(cli, name):
    code, out, err = cli("check", name)

    assert (code, err) == (0, "")
    assert f"{name}.yaml: no problems" in out


def test_a_sound_recipe_of_one_s_own_is_told_in_one_line(cli, recipe):
    phase = "phases: [{name: p, train: head, epochs: 1, learning_rate: 1e-3}]\n"
    recipe(SOUND)
    assert cli("check", "recipe.yaml") == (0, "recipe.yaml: no problems (efficientnet_lite0, 2 phases)\n", "")

    recipe(SOUND + phase)

    assert cli("check", "recipe.yaml") == (0, "recipe.yaml: no problems (efficientnet_lite0, 1 phase)\n", "")


def test_problems_go_to_standard_error_with_exit_code_2(cli, recipe):
    recipe(SOUND + "sead: 1\nmodel: {backbone: vgg61}\n")

    code, out, err = cli("check", "recipe.yaml", "--set", "data.batch_size=0")

    assert (code, out) == (2, "")
    assert err == (
        "recipe.yaml: 3 problems\n"
        "  line 3: 'sead' is not a key here; did you mean 'seed'?\n"
        "    allowed: name, seed, data, model, augment, loss, phases, monitor, evaluate, runtime, cache, checkpoint\n"
        "  line 4, model.backbone: 'vgg61' is not a known backbone; did you mean 'vgg19'?\n"
        "    allowed: efficientnet_lite0, vgg16, vgg19, resnet50, resnet101, resnet152, inception_v3, xception, "
        "densenet121\n"
        "  --set, data.batch_size: 0 must be greater than 0\n"
    )


@pytest.mark.parametrize("verb", [("check",), ("recipe", "show"), ("finetune",), ("plan",)], ids=" / ".join)
def test_every_verb_refuses_a_bad_recipe_in_the_same_words(cli, recipe, verb):
    recipe("name: 3\n")

    code, out, err = cli(*verb, "recipe.yaml")

    assert (code, out) == (2, "")
    assert err == (
        "recipe.yaml: 2 problems\n  line 1, name: 3 must be text; put it in quotes\n  line 1: 'data' is missing\n"
    )


def test_a_warning_goes_to_standard_error_and_is_no_failure(cli, recipe):
    recipe(SOUND + "model: {backbone: resnet50, weights: none}\n")

    code, out, err = cli("check", "recipe.yaml")

    assert code == 0
    assert out == "recipe.yaml: no problems (resnet50, 2 phases)\n"
    assert err.startswith("warning: phases[1] (fine-tune): weights are none")


def test_a_recipe_that_is_not_there_is_told(cli, tmp_path):
    code, _, err = cli("check", "nothere.yaml")

    assert code == 2
    assert err == f"nothere.yaml: 1 problem\n  no such file (looked from {tmp_path})\n"


def test_recipe_show_prints_a_recipe_that_is_the_same(cli, tmp_path):
    code, out, _ = cli("recipe", "show", "quickstart", "--set", "phases[0].epochs=3", "--set", "model.backbone=vgg16")
    (tmp_path / "shown.yaml").write_text(out)

    assert code == 0
    assert load_recipe(tmp_path / "shown.yaml") == load_recipe(
        "quickstart", ["phases[0].epochs=3", "model.backbone=vgg16"]
    )
    assert "clip_norm: null\n" in out


def test_recipe_list_prints_every_shipped_recipe_and_its_file(cli):
    code, out, _ = cli("recipe", "list")

    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        [name, str(path)] for name, path in shipped_recipes().items()
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty; a recipe needs at least data.source"),
        (b"\xff\xfe\x00", "line 1: not UTF-8 text; save the recipe as UTF-8"),
        (b"a: [" * 10_000, "line 1: not valid YAML: nested more than 30 deep; no recipe needs that"),
        (b"a: &a [*a]", "line 1, a[0]: an alias to something that it is part of itself"),
        (b"a: !!python/object/apply:os.system [exit 3]", "line 1, a: '!!python/object/apply:os.system' is a YAML tag"),
    ],
    ids=["empty", "binary", "deep", "alias", "tag"],
)
def test_the_installed_command_has_no_traceback_for_any_file(content, said, tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(content)

    done = subprocess.run(
        [sys.executable, "-m", "transferkit", "check", "recipe.yaml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error::UserWarning"},
        timeout=60,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert said in done.stderr
