"""What the README says is so."""

import re

import pytest
from ruamel.yaml import YAML

from transferkit.backbones.table import BACKBONES
from transferkit.check import load_recipe
from transferkit.recipe.draft import draft_tree
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.shipped import shipped_recipes
from transferkit.recipe.yaml_tree import parse_yaml


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


def test_links_in_the_readme_lead_somewhere(readme, project_root):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", readme)

    assert len(targets) >= 5
    assert [target for target in targets if not (project_root / target).exists()] == []


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
