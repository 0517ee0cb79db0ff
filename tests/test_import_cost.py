"""Importing and asking for help cost nothing: no heavy library is loaded before it is needed."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"tensorflow", "keras", "sklearn", "matplotlib", "scipy", "numpy", "h5py", "tensorflow_datasets", "jax"}
RUN = """
import atexit, json, runpy, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv = ["transferkit", *{arguments!r}]
runpy.run_module("transferkit", run_name="__main__")
"""
IMPORT = """
import json, sys
import transferkit
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_after(program, *, folder):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "100"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1])), done.stdout


def test_importing_transferkit_loads_nothing_else_of_it(tmp_path):
    modules, _ = modules_after(IMPORT, folder=tmp_path)

    assert {name for name in modules if name.startswith("transferkit.")} == set()
    assert not modules & {*HEAVY, "pydantic", "rich", "typer"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], "finetune"),
        (["finetune", "--help"], "--set"),
        (["--version"], "transferkit"),
        (["recipe", "list"], "quickstart"),
    ],
    ids=["help", "finetune help", "version", "recipe list"],
)
def test_help_loads_no_heavy_library_and_no_recipe_types(arguments, shown, tmp_path):
    modules, printed = modules_after(RUN.format(arguments=arguments), folder=tmp_path)

    assert shown in printed
    assert not modules & {*HEAVY, "transferkit.recipe.spec", "transferkit.finetuner"}


@pytest.mark.parametrize("arguments", [["check", "quickstart"], ["recipe", "show", "flowers"]], ids=" ".join)
def test_checking_a_recipe_loads_no_heavy_library(arguments, tmp_path):
    modules, printed = modules_after(RUN.format(arguments=arguments), folder=tmp_path)

    assert printed
    assert not modules & HEAVY
    assert list(tmp_path.iterdir()) == []
