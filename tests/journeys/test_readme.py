"""What the README says is so."""

import re
from pathlib import Path
from typing import get_args

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from transferkit.backbones.table import BACKBONES
from transferkit.check import check_draft, load_recipe
from transferkit.cli.app import INTERRUPTED, app
from transferkit.errors import PeerError, TransferkitError
from transferkit.recipe.draft import draft_tree, draft_values
from transferkit.recipe.phases import PhaseSpec
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.runtime import CacheSpec, CheckpointSpec, RuntimeSpec
from transferkit.recipe.shipped import shipped_recipes
from transferkit.recipe.yaml_tree import parse_yaml
from transferkit.stop import PREEMPTED
from transferkit.store.rows import cache_root


@pytest.fixture(scope="module")
def readme(project_root) -> str:
    return (project_root / "README.md").read_text(encoding="utf-8")


def test_readme_s_backbones_are_the_table(readme):
    rows = [
        f"| `{row.name}` | {row.image_size_px} | {row.min_size_px} | {row.feature_dim} | {row.num_stages} "
        f"| {row.licence} | [{row.source.split(', ')[0]}]({row.source.split(', ')[1]}) |"
        for row in BACKBONES.values()
    ]

    assert [line for line in readme.splitlines() if line.startswith(tuple(f"| `{name}`" for name in BACKBONES))] == rows


def test_readme_names_every_shipped_recipe(readme):
    assert set(re.findall(r"^\| `(\w+)` \| .* \| (?:EfficientNet|ResNet|Xception)", readme, re.MULTILINE)) == set(
        shipped_recipes()
    )


def test_readme_s_recipe_is_the_shipped_flowers_recipe(readme, project_root):
    block = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1]

    shown = draft_tree(parse_yaml(block), source="README.md")

    assert not shown.problems
    assert shown.recipe == load_recipe(project_root / "recipes" / "flowers.yaml")


def test_readme_s_recipe_for_harder_cases_is_sound(readme):
    _, block = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)

    recipe = check_draft(draft_tree(parse_yaml(block), source="README.md"))

    shown = {"layer_decay", "l2_sp", "decay", "ema", "views"}
    assert all(f"    {key}: " in block for key in shown)
    assert set(PhaseSpec.model_fields) >= shown
    assert recipe.checkpoint.span == (600, "seconds")


def test_readme_s_exit_codes_are_those_of_the_command(readme):
    codes = [int(code) for code in re.findall(r"^\| (\d+) \| ", readme, re.MULTILINE)]

    assert codes == [0, 1, TransferkitError.exit_code, PeerError.exit_code, INTERRUPTED, PREEMPTED]


def test_readme_names_every_strategy(readme):
    table = re.search(r"\| `runtime.strategy` \| where \|\n\|---\|---\|\n(.*?)\n\n", readme, re.DOTALL)[1]

    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named == list(get_args(RuntimeSpec.model_fields["strategy"].annotation))


def test_readme_states_the_defaults_of_cache_and_checkpoint(readme):
    assert f"`cache.max_gb` ({CacheSpec().max_gb:g})" in " ".join(readme.split())
    assert f"default: {CheckpointSpec().every}" in readme
    assert str(cache_root(None, {})) == str(Path("~/.cache/transferkit").expanduser())
    assert cache_root(None, {"TRANSFERKIT_HOME": "elsewhere"}) == Path("elsewhere")


@pytest.mark.model
def test_readme_names_every_file_of_a_run_folder(readme, finished):
    _, result = finished

    files = re.search(r"\| file \| what is in it \|\n(.*?)\n\n", readme, re.DOTALL)[1]
    named = {name for row in files.splitlines() for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    assert named == {path.name for path in result.run_dir.iterdir()}


def test_commands_in_the_readme_have_options_that_exist(readme):
    calls = re.findall(r"^transferkit finetune .*$", readme, re.MULTILINE)
    options = {option for call in calls for option in re.findall(r"--[\w-]+", call)}

    known = {option for one in get_command(app).commands["finetune"].params for option in one.opts}
    assert options == {"--set", "--run-dir", "--resume", "--workers", "--kfold"}
    assert options <= known


def test_links_in_the_readme_lead_somewhere(readme, project_root):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", readme)

    assert len(targets) >= 5
    assert [target for target in targets if not (project_root / target).exists()] == []


def test_recipes_in_the_data_guide_are_sound(project_root):
    text = (project_root / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    whole = [block for block in blocks if block.startswith("data:")]
    lines = [line for block in blocks if block not in whole for line in block.splitlines()]
    texts = [*whole, *(f"data:\n  source: sample\n  {line}" for line in lines)]
    assert len(whole) >= 1
    assert len(lines) >= 5
    for one in texts:
        values = YAML(typ="safe").load(one)
        assert isinstance(check_draft(draft_values(values, source="docs/data.md")), Recipe)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_has_a_header_and_is_sound(name):
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    header = text.split("\n\n")[0]

    assert f"transferkit finetune recipes/{name}.yaml" in header
    assert all(re.search(rf"^#   {word} ", header, re.MULTILINE) for word in ("command", "data", "expected", "time"))
    assert isinstance(load_recipe(shipped_recipes()[name]), Recipe)
    assert isinstance(YAML(typ="safe").load(text), dict)


@pytest.mark.journey
def test_commands_in_the_readme_run(readme, command, project_root, tmp_path):
    (tmp_path / "recipes").symlink_to(project_root / "recipes")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()]
    calls = [call for line in lines for call in line.split(" && ") if call.startswith("transferkit ")]
    offline = [call for call in calls if call != "transferkit finetune recipes/flowers.yaml"]

    assert len(offline) >= 4
    for call in offline:
        done = command(*(part.strip('"') for part in call.split()[1:]), cwd=tmp_path)
        assert done.returncode == 0, f"{call}\n{done.stdout}\n{done.stderr}"
    assert len(list((tmp_path / "runs").iterdir())) == 1
