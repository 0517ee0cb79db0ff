import pytest

from transferkit.recipe.yaml_tree import parse_yaml, path_text


def said(text, **options):
    return [str(problem) for problem in parse_yaml(text, **options).problems]


def test_path_text_writes_steps_as_a_recipe_user_would():
    assert path_text(("phases", 1, "train", "last_stages")) == "phases[1].train.last_stages"
    assert path_text(()) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("1_000", 1000),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("<<", "<<"),
        ("é", "é"),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text, value):
    tree = parse_yaml(f"key: {text}\n")

    assert tree.problems == []
    assert tree.data == {"key": value}
    assert type(tree.data["key"]) is type(value)


def test_every_key_and_entry_has_its_line():
    tree = parse_yaml("a: 1\nb:\n  c: [1,\n    2]\n")

    assert tree.where == {
        (): "line 1",
        ("a",): "line 1",
        ("b",): "line 2",
        ("b", "c"): "line 3",
        ("b", "c", 0): "line 3",
        ("b", "c", 1): "line 4",
    }


def test_a_path_that_is_not_written_has_the_line_of_what_holds_it():
    tree = parse_yaml("a: 1\nb:\n  c: 2\n")

    assert tree.where_of(("b", "d", 0)) == "line 2"
    assert tree.where_of(("z",)) == "line 1"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_counted_with_any_line_ending(newline):
    assert said(newline.join(["a: 1", "b: 2", "b: 3", ""])) == ["line 3: 'b' stands here twice (first on line 2)"]


def test_all_duplicate_keys_are_told_at_any_depth_and_the_first_counts():
    tree = parse_yaml("a: 1\nb: [{c: 1, c: 2}]\na: 2\na: 3\n")

    assert tree.data == {"a": 1, "b": [{"c": 1}]}
    assert [str(problem) for problem in tree.problems] == [
        "line 2, b[0]: 'c' stands here twice (first on line 2)",
        "line 3: 'a' stands here twice (first on line 1)",
        "line 4: 'a' stands here twice (first on line 1)",
    ]


@pytest.mark.parametrize(
    ("key", "shown"),
    [("3", "3"), ("true", "true"), ("~", "~"), ("1e-3", "1e-3"), ("? [a, b]\n", "a list or a mapping"), ("!x y", "y")],
)
def test_a_key_that_is_not_text_is_told_and_left_out(key, shown):
    tree = parse_yaml(f"a: 1\n{key}: 2\n")

    assert tree.data == {"a": 1}
    assert [str(problem) for problem in tree.problems] == [f"line 2: a key must be text, not {shown}"]


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("a:\n\tb: 1", 2, "a tab; indent with spaces"),
        ("a: 1\n---\nb: 2\n", 2, "a second document ('---'); a recipe is one"),
        ("a: 1\nb:2\nc: 3\n", 2, "a key without a colon and a space after it"),
        ("a: 1\nb: c: d\n", 2, "a second ': ' on the line (quote text that has one), or wrong indentation"),
        ("a:\n  b: 1\n c: 2\n", 3, "this line is indented unlike those that it belongs to"),
        ("a: 1\nb: 'c\nd: 2\n", 2, "a quotation mark that is never closed"),
        ("a: {b: 1\nc: 2\n", 2, "a ',' or '}' is missing before this; line 1 opens a bracket that is not closed"),
        ("a: [1 2]\nb: {c: [3}\n", 2, "a ',' or ']' is missing before this"),
        ("a: [1, }", 1, "'}' stands where a value belongs"),
        (" a: 1\nb: 2\n", 2, "this line is indented unlike those that it belongs to"),
        ("a: [1, 2", 1, "it ends before a bracket is closed"),
        ("a: @b", 1, "text that begins with @ must be in quotes"),
        ("a: %b", 1, "text that begins with % must be in quotes"),
        ("a: *\n", 1, "text that begins with * or & must be in quotes"),
        ("a: *b\n", 1, "found undefined alias 'b'"),
        ("%YAML 1.1\n---\na: yes\n", 2, "recipes are YAML 1.2; take out the %YAML line"),
    ],
)
def test_a_file_that_is_no_yaml_is_explained_at_the_line_at_fault(text, line, rule):
    assert said(text) == [f"line {line}: not valid YAML: {rule}"]


def test_a_control_character_is_told_with_its_line():
    assert said("a: 1\nb: \x01\n") == ["line 2: character 0x01 is not allowed in YAML; remove it"]


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("!!python/object/apply:os.mkdir [{path}]", "!!python/object/apply:os.mkdir"),
        ("!!python/object/new:os.mkdir {{path: {path}}}", "!!python/object/new:os.mkdir"),
        ("!!python/name:os.mkdir ''", "!!python/name:os.mkdir"),
        ("!mine x", "!mine"),
        ("!mine {{a: 1}}", "!mine"),
        ("!!set {{a, b}}", "!!set"),
        ("!!binary aGVsbG8=", "!!binary"),
    ],
)
def test_a_tag_builds_nothing_and_is_refused(value, tag, tmp_path):
    made = tmp_path / "made"

    tree = parse_yaml(f"a: 1\nb: {value.format(path=made)}\n")

    assert not made.exists()
    assert tree.data == {"a": 1, "b": None}
    assert tree.bad_paths == {("b",)}
    assert [str(problem) for problem in tree.problems] == [
        f"line 2, b: {tag!r} is a YAML tag, which recipes do not use; write the plain value"
    ]


@pytest.mark.parametrize("value", ["!!int x", "!!bool x", "!!float x", "9" * 5000])
def test_a_scalar_that_is_not_what_it_claims_is_told(value):
    tree = parse_yaml(f"a: 1\nb: {value}\n")

    assert tree.data == {"a": 1, "b": None}
    assert "cannot be read as a YAML" in str(tree.problems[0])
    assert len(str(tree.problems[0])) < 120


def test_half_a_surrogate_pair_is_told():
    assert said('a: "\\ud800"\n') == [r"line 1, a: '\ud800' holds half a character, which cannot be saved"]
    assert said('"\\ud800": 1\n') == [r"line 1: '\ud800' is not a key here"]


def test_a_file_may_say_that_it_is_yaml_1_2():
    tree = parse_yaml("%YAML 1.2\n---\na: yes\n")

    assert (tree.data, tree.problems) == ({"a": "yes"}, [])


@pytest.mark.filterwarnings("error")
def test_an_alias_repeats_what_its_anchor_marks():
    tree = parse_yaml("a: &x {b: 1}\nc: *x\nd: &x 2\ne: *x\n")

    assert tree.problems == []
    assert tree.data == {"a": {"b": 1}, "c": {"b": 1}, "d": 2, "e": 2}


def test_an_alias_within_its_own_anchor_is_told():
    assert said("a: 1\nb: &x\n  - [*x]\n") == ["line 2, b[0][0]: an alias to something that it is part of itself"]


def test_aliases_that_unfold_to_millions_are_given_up_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    tree = parse_yaml("\n".join(lines))

    assert tree.data is None
    assert [str(problem) for problem in tree.problems] == [
        "line 1: not valid YAML: more than 5,000 values; no recipe needs that"
    ]


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_deep_nesting_is_given_up_before_the_stack_is(opening):
    assert said(f"a: {opening * 20_000}") == ["line 1: not valid YAML: nested more than 30 deep; no recipe needs that"]


def test_deep_nesting_by_indentation_is_given_up():
    text = "".join(f"{' ' * depth}a:\n" for depth in range(500))

    assert said(text) == ["line 30: not valid YAML: nested more than 30 deep; no recipe needs that"]


def test_a_line_of_a_megabyte_is_read_or_refused_like_any_other():
    assert parse_yaml(f"a: {'b' * 1_000_000}").data == {"a": "b" * 1_000_000}
    assert said(f"a: [{'1, ' * 300_000}1]") == ["line 1: not valid YAML: more than 5,000 values; no recipe needs that"]


def test_an_origin_stands_in_for_lines():
    assert said("{a: 1, a: 2}", origin="--set") == ["--set: 'a' stands here twice"]
    assert said("[", origin="--set") == ["--set: not valid YAML: it ends before a bracket is closed"]


def test_aliases_that_nest_too_deep_together_are_given_up():
    text = f"a: &a {'[' * 20}{']' * 20}\nb: {'[' * 20}*a{']' * 20}\n"

    assert said(text) == ["line 1: not valid YAML: nested more than 30 deep; no recipe needs that"]
