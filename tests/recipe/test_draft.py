"""From a file to a draft: what the file itself can have wrong, and that everything is told at once and once only."""

import copy

import pytest

from transferkit.check import check_draft, load_recipe
from transferkit.errors import RecipeError
from transferkit.recipe.draft import draft_recipe, draft_values


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "null\n", "---\n", "---\n...\n", "\ufeff"])
def test_a_file_without_values_is_called_empty(complaints, text):
    assert complaints(text) == ["empty; a recipe needs at least data.source"]


@pytest.mark.parametrize(
    ("text", "shown"), [("- a\n- b\n", "['a', 'b']"), ("hello\n", "'hello'"), ("3", "3"), ("true", "true")]
)
def test_a_file_that_is_no_mapping_is_refused_as_a_whole(complaints, text, shown):
    assert complaints(f"# recipe\n{text}") == [f"line 2: {shown} must be a mapping of keys"]


@pytest.mark.parametrize(
    ("content", "line"),
    [("a: 1\nname: café\n".encode("latin-1"), 2), ("a: 1".encode("utf-16"), 1), (b"\x89PNG\r\n", 1)],
)
def test_a_file_that_is_not_utf_8_is_refused(complaints, content, line):
    assert complaints(content) == [f"line {line}: not UTF-8 text; save the recipe as UTF-8"]


def test_a_byte_order_mark_is_passed_over(load, base):
    assert load(b"\xef\xbb\xbf" + base.encode()) == load(base)


def test_windows_line_endings_are_read(load, base):
    assert load(base.replace("\n", "\r\n")) == load(base)


def test_a_missing_file_is_told_with_the_folder_searched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RecipeError) as caught:
        load_recipe("recipes/mine.yaml")

    assert str(caught.value) == f"recipes/mine.yaml: 1 problem\n  no such file (looked from {tmp_path})"


def test_a_misspelt_shipped_recipe_is_guessed():
    with pytest.raises(RecipeError) as caught:
        load_recipe("quikstart")

    assert "'quikstart' is neither a file nor the name of a shipped recipe; did you mean 'quickstart'?" in str(
        caught.value
    )


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="the recipe folder with --set 'data.source={folder: "):
        load_recipe(tmp_path)


def test_a_folder_does_not_hide_the_shipped_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()

    assert load_recipe("quickstart").name == "quickstart"


def test_an_unreadable_file_is_told(tmp_path, monkeypatch):
    path = tmp_path / "recipe.yaml"
    path.write_text("a: 1")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(RecipeError, match="cannot be read: Permission denied"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b.yaml"])
def test_a_name_that_no_file_can_have_is_told(name):
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(name)


def test_a_file_of_more_than_a_mebibyte_is_not_read(complaints):
    assert complaints("#" * (2**20 + 1)) == ["larger than 1 MiB, so not a recipe"]


def test_a_line_of_a_megabyte_is_one_short_problem(complaints, base):
    assert complaints(base.replace("base", "b" * 1_000_000)) == [
        f"line 1, name: '{'b' * 27}...{'b' * 28}' must be at most 100 characters long"
    ]


BROKEN = """\
name: "a b"
seed: true
seed: 1
data:
  source: {sample: clip}
  split: {validation: 0.5, test: 0.6}
  image_sise: 16
model:
  backbone: resnet5
  head: {dropout: "0.2"}
augment:
  - rotat: 10
  - flip: horizontal
  - rotate: {degrees: 400}
phases:
  - name: warm-up
    train: haed
    epochs: 0
    learning_rate: .nan
  - name: fine-tune
    train: {last_stages: 2}
    epochs: 5
    learning_rate: 1e-4
    ramp_epochs: 9
    3: x
"""


def test_faults_of_the_file_the_fields_between_fields_and_the_tables_come_in_one_list(complaints):
    assert complaints(BROKEN, "phases[1].epoch=7", "loss=fokal", "evaluate") == [
        "line 1, name: 'a b' may hold letters, digits, '_', '-' and '.' only, since it begins a folder's name",
        "line 2, seed: true must be a whole number",
        "line 3: 'seed' stands here twice (first on line 2)",
        "line 5, data.source.sample: 'clip' is not allowed; did you mean 'clipart'?",
        "line 6, data.split: validation (0.5) and test (0.6) leave nothing to train on; together they must be below 1",
        "line 7, data: 'image_sise' is not a key here; did you mean 'image_size'?",
        "line 9, model.backbone: 'resnet5' is not a known backbone; did you mean 'resnet50'?",
        "line 10, model.head.dropout: '0.2' must be a number; take away the quotes",
        "line 12, augment[0]: 'rotat' is not the name of an augmentation; did you mean 'rotate'?",
        "line 14, augment[2].rotate.degrees: 400 must be at most 180",
        "line 17, phases[0].train: 'haed' is not the name of a freeze policy; did you mean 'head'?",
        "line 18, phases[0].epochs: 0 must be greater than 0",
        "line 19, phases[0].learning_rate: nan must be a finite number",
        "line 24, phases[1].ramp_epochs: 9 must lie between 0 and epochs (5)",
        "line 25, phases[1]: a key must be text, not 3",
        "--set: 'evaluate' must look like KEY=VALUE, such as phases[0].epochs=3",
        "--set, loss: 'fokal' is not the name of a loss; did you mean 'focal'?",
        "--set, phases[1]: 'epoch' is not a key here; did you mean 'epochs'?",
    ]


def test_the_message_begins_with_the_file_and_the_number_of_problems(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("sed: 1\n")

    with pytest.raises(RecipeError) as caught:
        load_recipe(path)

    assert str(caught.value) == (
        f"{path}: 2 problems\n"
        "  line 1: 'data' is missing\n"
        "  line 1: 'sed' is not a key here; did you mean 'seed'?\n"
        "    allowed: name, seed, data, model, augment, loss, phases, monitor, evaluate, runtime, cache, checkpoint"
    )


def test_a_message_stays_on_one_screen(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("".join(f"service_{number}: 1\n" for number in range(100)))

    with pytest.raises(RecipeError) as caught:
        load_recipe(path)

    assert len(caught.value.problems) == 101
    assert len(str(caught.value).splitlines()) < 70
    assert str(caught.value).endswith("  and 71 more")


def test_a_fault_in_one_phase_hides_none_in_another(complaints, base):
    text = base.replace("train: head", "train: haed").replace("{last_stages: 2}", "{last_stages: 99}")

    assert complaints(text) == [
        "line 15, phases[0].train: 'haed' is not the name of a freeze policy; did you mean 'head'?",
        "line 19, phases[1].train.last_stages: 99 is more stages than efficientnet_lite0 has (5); "
        "to train everything, use train: all",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # What depends on an unknown backbone cannot be judged.
        (
            "backbone: efficientnet_lite0",
            "backbone: resnet\n  weights: none",
            "line 8, model.backbone: 'resnet' is not a known backbone; did you mean 'resnet50'?",
        ),
        # A misspelt key is not missing too.
        ("train: head", "trian: head", "line 15, phases[0]: 'trian' is not a key here; did you mean 'train'?"),
        (
            "{degrees: 10}",
            "{degree: 10}",
            "line 12, augment[1].rotate: 'degree' is not a key here; did you mean 'degrees'?",
        ),
        # What could not be read is not of a wrong type too.
        (
            "epochs: 10",
            "epochs: !x 10",
            "line 16, phases[0].epochs: '!x' is a YAML tag, which recipes do not use; write the plain value",
        ),
        (
            "{degrees: 10}",
            "!x 10",
            "line 12, augment[1].rotate: '!x' is a YAML tag, which recipes do not use; write the plain value",
        ),
        # Without epochs no ramp is too long.
        ("epochs: 5", "epochs: five", "line 20, phases[1].epochs: 'five' must be a whole number"),
        # A section of the wrong type is one fault, however much should be in it.
        (
            "- name: warm-up\n    train: head\n    epochs: 10\n    learning_rate: 1e-3",
            "- 3",
            "line 14, phases[0]: 3 must be a mapping of keys",
        ),
    ],
)
def test_one_fault_is_told_once(complaints, base, old, new, problem):
    text = base.replace(old, new).replace("ramp_epochs: 1", "ramp_epochs: 5")

    assert complaints(text) == [problem]


def test_an_unknown_backbone_brings_no_problem_of_stages_or_sizes(complaints, base):
    text = base.replace("efficientnet_lite0", "vgg").replace("last_stages: 2", "last_stages: 99").replace("160", "1")

    assert complaints(text) == ["line 8, model.backbone: 'vgg' is not a known backbone; did you mean 'vgg19'?"]


@pytest.mark.parametrize(
    ("misspelt", "problem"),
    [
        ("evalute: [validation]", "'evalute' is not a key here; did you mean 'evaluate'?"),
        ("evaluate: [validation, 3]", "3 is not allowed"),
        ("evaluate: validation", "'validation' must be a list: ['validation']"),
    ],
)
def test_rules_between_fields_wait_for_fields_at_fault(complaints, base, misspelt, problem):
    found = complaints(base.replace("test: 0.2", "test: 0") + misspelt)

    assert len(found) == 1
    assert found[0].endswith(problem)


def test_overrides_are_checked_like_the_file(complaints, base):
    assert complaints(base, "model.backbone=vgg61", "phases[0].epochs=true", seed=-1) == [
        "seed=, seed: -1 must be at least 0",
        "--set, phases[0].epochs: true must be a whole number",
        "--set, model.backbone: 'vgg61' is not a known backbone; did you mean 'vgg19'?",
    ]


def test_a_change_that_is_no_yaml_is_not_a_missing_key_too(complaints):
    assert complaints("name: a\ndata: {image_size: 64}\n", "data.source=[") == [
        "--set, data.source: not valid YAML: it ends before a bracket is closed"
    ]


def test_an_override_can_mend_the_file(load, base):
    broken = base.replace("efficientnet_lite0", "vgg").replace("epochs: 10", "epochs: ten")

    recipe = load(broken, "model.backbone=vgg16", phases__0__epochs=3)

    assert recipe.model.backbone == "vgg16"
    assert recipe.phases[0].epochs == 3


def test_a_draft_of_values_names_its_source_and_has_no_lines():
    draft = draft_values({"data": {"source": {"folder": 3}}}, source="FineTuner(…)")

    with pytest.raises(RecipeError) as caught:
        check_draft(draft)

    assert str(caught.value) == "FineTuner(…): 1 problem\n  data.source.folder: 3 must be text; put it in quotes"


def test_a_draft_does_not_change_the_values_it_is_made_of():
    values = {"data": {"source": "sample", "spilt": {}}, "phases": [{"epochs": "x"}]}
    before = copy.deepcopy(values)

    draft_values(values, source="here")

    assert values == before


def test_a_draft_has_a_recipe_to_check_further_whatever_is_at_fault(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "data:\n"
        "model: 3\n"
        "augment: [3, {}, null, rotate, {rotate: {x: 3}}, {rotate: {degree: 3}}]\n"
        "phases: [{}, 3, {train: {x: 3}, epochs: []}]\n"
        "evaluate: 3\n"
    )

    draft = draft_recipe(path)

    assert draft.recipe is not None
    assert len(draft.recipe.phases) == 3
    assert not draft.is_sound(("data", "source"))
    assert draft.is_sound(("seed",))
