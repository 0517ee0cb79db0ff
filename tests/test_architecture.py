"""The house: a part imports only from rows above its own, and rules that hold in every file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import transferkit

PACKAGE = Path(transferkit.__file__).parent
# Parts in one row do not import each other.
HOUSE = (
    ("errors", "progress", "home"),
    ("stop", "store", "download"),
    ("recipe",),
    ("data", "backbones"),
    ("model", "schedule"),
    ("rules",),
    ("check",),
    ("train",),
    ("evaluate", "doctor"),
    ("bundle", "report"),
    ("planning",),
    ("plan", "fetch"),
    ("finetuner",),
    ("studies",),
    ("cli",),
)
ROW = {part: row for row, parts in enumerate(HOUSE) for part in parts}
# The package's face and its command: they stand below everything.
FACE = ("__init__", "__main__")
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports, also those in functions and under `TYPE_CHECKING`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def imported_parts(tree: ast.AST) -> set[str]:
    """What of transferkit is imported; `__version__` is no part."""
    parts = [name.split(".") for name in imported_modules(tree)]
    inside = {names[1] for names in parts if names[0] == "transferkit" and len(names) > 1}
    return inside - {"__version__"}


def upward_or_sideways(part: str, tree: ast.AST) -> set[str]:
    return {name for name in imported_parts(tree) - {part} if name not in ROW or ROW[name] >= ROW[part]}


def calls(tree: ast.AST) -> Iterator[str]:
    """What is called by a bare name, and the last name of what is called on something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield f".{node.func.attr}"


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def test_the_house_has_every_part_once():
    parts = {part_of(file) for file in FILES} - set(FACE)

    assert parts == set(ROW)
    assert sum(map(len, HOUSE)) == len(ROW)


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) not in FACE], ids=name_of)
def test_a_part_imports_only_from_rows_above_its_own(file):
    assert upward_or_sideways(part_of(file), ast.parse(file.read_text())) == set()


@pytest.mark.parametrize(
    ("part", "source", "found"),
    [
        ("model", "from transferkit.train.loop import train", {"train"}),
        ("model", "def f():\n    import transferkit.schedule.rates", {"schedule"}),
        ("recipe", "if TYPE_CHECKING:\n    from transferkit import check", {"check"}),
        ("train", "from transferkit import FineTuner", {"FineTuner"}),
        ("train", "from transferkit import __version__\nimport transferkit\nfrom transferkit.model import warp", set()),
        ("data", "from transferkit.data.listing import Listing\nfrom transferkit.errors import DataError", set()),
    ],
)
def test_upward_and_sideways_imports_are_seen(part, source, found):
    assert upward_or_sideways(part, ast.parse(source)) == found


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.parent != PACKAGE and file.stem == "__init__"], ids=name_of
)
def test_the_init_file_of_a_part_is_empty(file):
    assert file.read_text() == ""


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_short_and_named_for_what_it_does(file):
    assert len(file.read_text().splitlines()) <= MAX_LINES
    assert file.stem not in ("utils", "util", "helpers", "common", "misc")


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) != "cli"], ids=name_of)
def test_only_the_command_line_prints(file):
    assert "print" not in calls(ast.parse(file.read_text()))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_string_is_never_turned_into_code(file):
    text = file.read_text()

    # `__dir__` of the package lists names; nothing is looked up by them.
    found = set(calls(ast.parse(text.replace("[*globals(), *__all__]", "[]"))))

    assert not found & {".import_module", "import_module", "__import__", "eval", "exec", "globals", "locals", "vars"}


def test_the_package_s_names_can_all_be_had():
    assert set(transferkit.__all__) <= set(dir(transferkit))
    assert callable(transferkit.load_recipe)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = transferkit.nothing
