"""The recipe against the tables: what only shows when fields are looked at together."""

import pytest

from transferkit.backbones.table import BACKBONES
from transferkit.check import check_draft, load_recipe, warnings_for
from transferkit.errors import RecipeError
from transferkit.recipe.draft import draft_values
from transferkit.recipe.shipped import shipped_recipes

PHASE = {"name": "p", "train": "head", "epochs": 4, "learning_rate": 1e-3}


def checked(**sections):
    return check_draft(draft_values({"data": {"source": "sample"}, "phases": [PHASE], **sections}, source="test"))


def told(**sections):
    with pytest.raises(RecipeError) as caught:
        checked(**sections)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid_by_file_and_by_name(path):
    recipe = load_recipe(path)

    assert recipe == load_recipe(path.stem)
    assert recipe.name
    assert warnings_for(recipe) == ()


def test_shipped_recipes_are_those_of_the_recipes_folder(project_root):
    files = {path.stem for path in (project_root / "recipes").glob("*.yaml")}

    assert set(shipped_recipes()) == files
    assert "quickstart" in files


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_known_and_gives_the_image_size(name):
    recipe = checked(model={"backbone": name})

    assert recipe.data.image_size == BACKBONES[name].image_size_px


def test_a_size_that_is_written_stays():
    assert checked(data={"source": "sample", "image_size": 96}).data.image_size == 96


def test_an_unknown_backbone_is_told_with_all_that_are_known():
    assert told(model={"backbone": "resnet5"}) == [
        "model.backbone: 'resnet5' is not a known backbone; did you mean 'resnet50'?\n"
        f"    allowed: {', '.join(BACKBONES)}"
    ]


@pytest.mark.parametrize("spec", BACKBONES.values(), ids=lambda spec: spec.name)
def test_an_image_below_the_backbone_s_smallest_size_is_refused(spec):
    model = {"backbone": spec.name}

    assert checked(model=model, data={"source": "sample", "image_size": spec.min_size_px})
    assert told(model=model, data={"source": "sample", "image_size": spec.min_size_px - 1}) == [
        f"data.image_size: {spec.min_size_px - 1} is below the smallest size of {spec.name}, {spec.min_size_px} px"
    ]


@pytest.mark.parametrize("spec", BACKBONES.values(), ids=lambda spec: spec.name)
def test_no_more_stages_than_the_backbone_has_can_train(spec):
    model, most = {"backbone": spec.name}, spec.num_stages
    too_many = f"{most + 1} is more stages than {spec.name} has ({most}); to train everything, use train: all"

    assert checked(model=model, phases=[{**PHASE, "train": {"last_stages": most}}])
    assert checked(model=model, phases=[{**PHASE, "train": {"gradual": 1, "first": most}}])
    assert told(
        model=model,
        phases=[
            {**PHASE, "train": {"last_stages": most + 1}},
            {**PHASE, "train": {"last_stages": {"count": most + 1}}},
            {**PHASE, "train": {"gradual": 1, "first": most + 1}},
            {**PHASE, "train": {"gradual": {"every_epochs": 1, "first": most + 1}}},
        ],
    ) == [
        f"phases[0].train.last_stages: {too_many}",
        f"phases[1].train.last_stages.count: {too_many}",
        f"phases[2].train.first: {too_many}",
        f"phases[3].train.gradual.first: {too_many}",
    ]


def test_batch_norm_alone_cannot_train_where_there_is_none():
    phases = [{**PHASE, "train": "norm"}]

    assert checked(model={"backbone": "resnet50"}, phases=phases)
    assert told(model={"backbone": "vgg16"}, phases=phases) == [
        "phases[0].train: 'norm' has nothing to train: vgg16 has no batch norm"
    ]


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.6, 0.5), (0.9, 0.1)])
def test_splits_must_leave_something_to_train_on(validation, test):
    split = {"validation": validation, "test": test}

    assert told(data={"source": "sample", "split": split}) == [
        f"data.split: validation ({validation}) and test ({test}) leave nothing to train on; "
        "together they must be below 1"
    ]


def test_splits_may_leave_little_to_train_on():
    assert checked(data={"source": "sample", "split": {"validation": 0.5, "test": 0.49}})


NO_TEST = "data.split.test: 0 leaves no test split, but evaluate asks for one; raise it, or set evaluate: [validation]"


def without_test(source):
    return {"source": source, "split": {"validation": 0.1, "test": 0}}


@pytest.mark.parametrize(
    "source", ["sample", {"folder": "photos"}, {"tfds": "a", "splits": {"train": "train", "validation": "test"}}]
)
def test_results_on_a_test_split_that_is_not_there_are_refused(source):
    assert told(data=without_test(source)) == [NO_TEST]
    assert checked(data=without_test(source), evaluate=["validation"])


@pytest.mark.parametrize("source", [{"tfds": "a"}, {"tfds": "a", "splits": {"test": "test"}}])
def test_a_source_may_bring_its_own_test_split(source):
    assert checked(data=without_test(source))


def test_a_folder_may_bring_its_own_test_split(tmp_path):
    source = {"folder": tmp_path}
    assert told(data=without_test(source)) == [NO_TEST]

    (tmp_path / "test").mkdir()

    assert checked(data=without_test(source))


def test_a_folder_that_no_system_can_have_is_no_crash():
    assert told(data=without_test({"folder": "a" * 5000})) == [NO_TEST]


def test_weights_must_be_a_name_or_a_file(tmp_path):
    file = tmp_path / "mine.weights.h5"
    missing = told(model={"weights": str(file)})

    file.touch()

    assert len(missing) == 1
    assert missing[0].startswith("model.weights: ")
    assert checked(model={"weights": file}).model.weights == str(file)


def test_problems_come_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model: {backbone: vgg99}\n"
        "seed: x\n"
        "data:\n"
        "  source: sample\n"
        "  split: {validation: 0.9, test: 0.9}\n"
        "  batch_size: 0\n"
    )

    with pytest.raises(RecipeError) as caught:
        load_recipe(path)

    assert [problem.where for problem in caught.value.problems] == [f"line {number}" for number in (1, 2, 5, 6)]


def test_a_frozen_random_backbone_with_batch_norm_is_warned_about():
    model = {"backbone": "resnet50", "weights": "none"}
    frozen = {**PHASE, "train": "all"}

    (warning,) = warnings_for(checked(model=model, phases=[PHASE, frozen]))

    assert warning.startswith("phases[1] (p): weights are none")
    assert "batch_norm: train" in warning
    assert warnings_for(checked(model=model, phases=[{**frozen, "batch_norm": "train"}])) == ()
    assert warnings_for(checked(model={**model, "backbone": "vgg16"}, phases=[frozen])) == ()
    assert warnings_for(checked(model={"backbone": "resnet50"}, phases=[frozen])) == ()
